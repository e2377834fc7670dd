"""The content of `/openapi.json` (OpenAPI 3.1), written by hand. Tests compare it with the service."""

from itertools import permutations

from pneumoscan.web.http.openapi.problems import PROBLEMS, problem_response, problems_of
from pneumoscan.web.http.openapi.schemas import Table, schemas
from pneumoscan.web.http.responses import JSON, PNG
from pneumoscan.web.http.routes.query import EXTRAS, FILM_TYPES

_FILE_NAME: Table = {"type": "string", "pattern": "^([a-z]{1,20}/)?[a-z][a-z0-9_-]{0,30}[.][a-z]{2,4}$"}
_HTML, _TEXT = "text/html", "text/plain"
_EVERYWHERE = (400, 405, 421, 431, 503)
_GUARDED = (*_EVERYWHERE, 401, 403, 415)
_ROW: Table = {
    "path": "<bytes>",
    "status": "ok",
    "probability": 0.8337295572251701,
    "label": "PNEUMONIA",
    "threshold": 0.49338538393924175,
    "warnings": [],
    "error_code": "",
    "error": "",
    "model": "flagship-3-children@1205e61937ff",
    "site": "children",
}
_FACTS: Table = {
    "sha256": "4e0e10e6aab0a820c81d324847bff3eb1c659ce0debbaa02410c438eb8f25abe",
    "logit": 1.284018874168396,
    "distance": 0.0006414192030206323,
    "width": 1300,
    "height": 1000,
    "format": "JPEG",
}
_PICTURE_EXAMPLE: Table = {"media_type": PNG, "data": "iVBORw0KGgo="}


def document(version: str) -> Table:
    """Return the document for a release."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pneumoscan",
            "version": version,
            "summary": "Find pneumonia in chest X-rays. Research use only, not a medical device.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas(),
            "responses": {f"Problem{status}": problem_response(status) for status in PROBLEMS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Required if the service was started with a token.",
                }
            },
        },
    }


_DESCRIPTION = (
    "A request contains a film, and its response the prediction row of `pneumoscan predict`. Films stay in memory and are "
    "deleted with the response. Every error is `application/problem+json` with a stable `code`."
)


def _paths() -> Table:
    return {
        "/": {"get": _page("page", "The page.")},
        "/page/{name}": {"get": _page_file()},
        "/favicon.ico": {
            "get": _get("favicon", "The icon of the page.", _binary("image/svg+xml"), (*_EVERYWHERE, 404))
        },
        "/healthz": {
            "get": _get("health", "Whether the service runs.", _example({"status": "ok"}, "Status"))
        },
        "/readyz": {
            "get": _get(
                "readiness", "Whether films can be read now.", _example({"status": "ready"}, "Status")
            )
        },
        "/metrics": {
            "get": _get(
                "metrics",
                "Metrics in the text format of Prometheus.",
                _text("pneumoscan_ready 1.0\n"),
                _GUARDED,
            )
        },
        "/openapi.json": {
            "get": _get(
                "openapi", "This document.", _example({"openapi": "3.1.0"}, {"type": "object"}), _GUARDED
            )
        },
        "/v1/model": {"get": _get("model", "Facts about the model.", _model(), _GUARDED)},
        "/v1/node": {
            "get": _get("node", "Results of a hospital node; null without a node.", _node(), _GUARDED)
        },
        "/v1/classify": {"put": _put(), "post": _post()},
    }


def _get(name: str, summary: str, content: Table, problems: tuple[int, ...] = _EVERYWHERE) -> Table:
    guarded = problems != _EVERYWHERE and 401 in problems
    return {
        "operationId": name,
        "summary": summary,
        **({} if guarded else {"security": []}),
        "responses": {"200": {"description": summary, "content": content}, **problems_of(problems)},
    }


def _page(name: str, summary: str) -> Table:
    found = _get(name, summary, {_HTML: {"schema": {"type": "string"}, "example": "<!doctype html>"}})
    found["responses"] |= {
        "304": {"description": "The client has the current version."},
        **problems_of((404,)),
    }
    return found


def _page_file() -> Table:
    content = {kind: {"schema": {"type": "string"}} for kind in (_HTML, "text/css", "text/javascript")}
    content |= {**_binary("image/svg+xml"), **_binary(PNG), JSON: {"schema": {}}}
    found = _get("pageFile", "A file of the page.", content, (*_EVERYWHERE, 404))
    found["parameters"] = [_parameter("name", "path", _FILE_NAME, "Name of the file.", "index.html")]
    found["responses"]["304"] = {"description": "The client has the current version."}
    return found


def _put() -> Table:
    film = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": "classify",
        "summary": "Read one film.",
        "description": "The format is recognised from the bytes, not from the type.",
        "parameters": _query(),
        "requestBody": {"required": True, "content": dict.fromkeys(FILM_TYPES, film)},
        "responses": {"200": _answer(), **problems_of((*_GUARDED, 408, 411, 413, 422))},
    }


def _post() -> Table:
    form = {
        "type": "object",
        "required": ["film"],
        "properties": {"film": {"type": "string", "format": "binary"}},
        "additionalProperties": False,
    }
    return {
        "operationId": "classifyForm",
        "summary": "Read the film of a form.",
        "description": "The form has one file field, `film`; its file name is ignored.",
        "parameters": _query(),
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": _answer(), **problems_of((*_GUARDED, 408, 411, 413, 422))},
    }


def _query() -> list[Table]:
    rate = {"type": "number", "minimum": 0, "maximum": 1}
    # Whole values, because a schema of lists does not tell how they are joined.
    kinds = [",".join(kinds) for count in (1, 2, 3) for kinds in permutations(EXTRAS, count)]
    found = [
        _parameter(
            "operating_point", "query", {"type": "string"}, "A threshold that the model carries.", "balanced"
        ),
        _parameter(
            "threshold", "query", rate, "PNEUMONIA from this probability on; not with operating_point.", 0.5
        ),
        _parameter("include", "query", {"enum": kinds}, "What to put into the row besides.", "heatmap"),
    ]
    description = "The response is the map as a picture, with the row in the header Pneumoscan-Row. Not together with include."
    found.append(_parameter("heatmap", "query", {"enum": ["png"]}, description, "png"))
    return found


def _parameter(name: str, place: str, schema: Table, description: str, example: object) -> Table:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
        "examples": {"example": {"value": example}},
    }


def _answer() -> Table:
    return {
        "description": "The film was read.",
        "headers": {
            "Pneumoscan-Row": {
                "description": "The row as JSON, if the response is a picture.",
                "schema": {"type": "string"},
            }
        },
        "content": {
            JSON: {
                "schema": {"$ref": "#/components/schemas/Row"},
                "examples": {
                    "row": {"value": _ROW | _FACTS},
                    "with heatmap": {"value": _ROW | _FACTS | {"heatmap": _PICTURE_EXAMPLE}},
                },
            },
            PNG: {"schema": {"type": "string", "format": "binary"}},
        },
    }


def _node() -> Table:
    schema = {
        "type": "object",
        "required": ["node"],
        "properties": {"node": {"type": ["object", "null"], "additionalProperties": True}},
        "additionalProperties": False,
    }
    return _example({"node": None}, schema)


def _model() -> Table:
    example = {
        "name": "flagship-3-children",
        "model": _ROW["model"],
        "research_use_only": True,
        "default_operating_point": "balanced",
        "operating_points": {"balanced": {"name": "balanced", "threshold": _ROW["threshold"]}},
        "has_heatmap": True,
    }
    return _example(example, "Model")


def _example(value: object, schema: str | Table) -> Table:
    found = {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema
    return {JSON: {"schema": found, "example": value}}


def _text(example: str) -> Table:
    return {_TEXT: {"schema": {"type": "string"}, "example": example}}


def _binary(media_type: str) -> Table:
    return {media_type: {"schema": {"type": "string", "format": "binary"}}}
