"""The OpenAPI document is valid, tells the truth, and its addresses stand what schemathesis thinks of."""

import json
import re
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import hypothesis
import jsonschema_rs
import live_service as service
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tiny_bundle import write_tiny_bundle

from pneumoscan import __version__, errors
from pneumoscan.rows import COLUMNS
from pneumoscan.web.app import make_app, openapi
from pneumoscan.web.body import FORM_FIELD
from pneumoscan.web.classify import EXTRAS, FILM_TYPES
from pneumoscan.web.responses import HTTP_CODES, refused, refused_for

DOCUMENT = openapi()


def test_the_description_has_the_limits_of_the_code() -> None:
    assert DOCUMENT["info"]["version"] == __version__
    put, post = (DOCUMENT["paths"]["/v1/classify"][method] for method in ("put", "post"))
    assert tuple(put["requestBody"]["content"]) == FILM_TYPES
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(form["properties"]) == form["required"] == [FORM_FIELD]
    assert put["parameters"] == post["parameters"]
    query = {parameter["name"]: parameter["schema"] for parameter in put["parameters"]}
    assert set(query) == {"operating_point", "threshold", "include", "heatmap", "document"}
    kinds = {kind for size in (1, 2, 3) for kind in map(",".join, permutations(EXTRAS, size))}
    assert set(query["include"]["enum"]) <= kinds
    schemas = DOCUMENT["components"]["schemas"]
    assert tuple(schemas["Row"]["required"][: len(COLUMNS)]) == COLUMNS
    assert set(schemas["Row"]["properties"]) - set(schemas["Row"]["required"]) == {*EXTRAS, "regions"}
    assert set(schemas["Problem"]["properties"]) == set(refused("http.busy", "").to_json())


def test_all_references_lead_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        place: Any = DOCUMENT
        for key in reference.split("/"):
            place = place[key]


def test_every_route_is_told_with_its_methods() -> None:
    app = make_app(service.Settings(), service.StandIn(), service.ABOUT)  # type: ignore[arg-type]
    # `:path` takes the slashes of a name in as well; OpenAPI has no word for it.
    routes = {
        re.sub(":(path|int)}", "}", route.path): {method.lower() for method in route.methods} - {"head"}
        for route in app.routes
    }
    assert {path: set(item) for path, item in DOCUMENT["paths"].items()} == routes


def test_every_code_is_told_with_its_status() -> None:
    told = {
        (int(name.removeprefix("Problem")), code): example["value"]
        for name, response in DOCUMENT["components"]["responses"].items()
        for code, example in response["content"]["application/problem+json"]["examples"].items()
    }
    for code, (status, title, _) in HTTP_CODES.items():
        assert told.pop((status, code)) == refused(code, title).to_json()
    # The length of a body has a second status; the other codes are those of films and of the query.
    assert told.pop((411, "http.length"))["status"] == 411
    for (status, code), problem in told.items():
        kind = next(kind for kind in kinds_of_errors() if kind.code == code)
        answer = refused_for(kind(problem["detail"], problem["remedy"]))
        assert (status, problem) == (answer.status, answer.to_json())
    pending: list[type[errors.PneumoscanError]] = [errors.FilmError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        assert refused_for(kind("what")).status in {413, 415, 422}, kind


def kinds_of_errors() -> Iterator[type[errors.PneumoscanError]]:
    pending = [errors.PneumoscanError]
    while pending:
        yield (kind := pending.pop())
        pending += kind.__subclasses__()


def test_every_example_fits_its_schema() -> None:
    found = 0
    for place in contents(DOCUMENT):
        examples = [entry["value"] for entry in place.get("examples", {}).values()]
        for example in [*examples, *([place["example"]] if "example" in place else [])]:
            schema = {**place["schema"], "components": DOCUMENT["components"]}
            jsonschema_rs.Draft202012Validator(schema).validate(example)
            found += 1
    assert found > 30


def contents(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "schema" in value:
            yield value
        for inner in value.values():
            yield from contents(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from contents(inner)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("schema")
    bundle = write_tiny_bundle(folder / "bundle")
    with service.live(
        folder, "--model", str(bundle), "--workers", "2", "--verdicts", str(folder / "v.csv")
    ) as running:
        yield running.port
        assert "fault" not in running.log.read_text()
        assert running.stop() == 0


CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
)  # fmt: skip
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
ASKING = [(path, method) for path, method in OPERATIONS if method in {"put", "post"}]


def fuzz(port: int, path: str, method: str, mode: GenerationMode, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    operation = schema[path][method.upper()]

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 50,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        case.call_and_validate(checks=list(CHECKS))

    answers()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), ASKING)
def test_what_is_made_up_gets_the_answers_that_are_told(
    port: int, path: str, method: str, mode: GenerationMode
) -> None:
    fuzz(port, path, method, mode, 12)


@pytest.mark.parametrize(("path", "method"), sorted(set(OPERATIONS) - set(ASKING)))
def test_what_takes_nothing_gives_what_is_told(port: int, path: str, method: str) -> None:
    fuzz(port, path, method, GenerationMode.POSITIVE, 2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), ASKING)
def test_much_that_is_made_up_gets_the_answers_that_are_told(
    port: int, path: str, method: str, mode: GenerationMode
) -> None:
    fuzz(port, path, method, mode, 500)
