"""FHIR R4: what is told, checked against the models of `fhir.resources` (R4B, which has these resources as R4 has them)."""

import json
import stat
import warnings
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hospital_films import FILM, MADE_AT, STUDY, finding, hospital_film, writer

from pneumoscan.node.results import fhir_bundle, make_results, write_fhir
from pneumoscan.node.settings import Config, NodeSettings
from pneumoscan.node.steps import _write_and_list_messages

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pydantic, while the models are made
    bundle_models = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")

LABELS = ("PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM")


def told(label: str = "PNEUMONIA", film: bytes | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    made = fhir_bundle(film or hospital_film(), finding(label, **changes), writer(), made_at=MADE_AT)
    return {one["resource"]["resourceType"]: one["resource"] for one in json.loads(made)["entry"]}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("sparse", [False, True])
def test_it_is_a_legal_bundle(label: str, sparse: bool) -> None:
    gone = dict.fromkeys((0x00080020, 0x00080050, 0x00100020)) if sparse else {}
    made = fhir_bundle(
        hospital_film(gone), finding(label, warnings=("near_threshold",)), writer(), made_at=MADE_AT
    )
    bundle = bundle_models.Bundle.model_validate_json(made)
    kinds = [type(one.resource).__name__ for one in bundle.entry]
    assert kinds == ["DiagnosticReport", "Observation", "Device"]
    urls = {one.fullUrl for one in bundle.entry}
    report, observation = bundle.entry[0].resource, bundle.entry[1].resource
    assert {report.result[0].reference, observation.device.reference} <= urls


def test_the_models_find_an_error_where_there_is_one() -> None:
    made = fhir_bundle(hospital_film(), finding(), writer(), made_at=MADE_AT)
    with pytest.raises(ValueError, match="state"):
        bundle_models.Bundle.model_validate_json(made.replace(b'"status"', b'"state"'))


def test_it_tells_the_finding_and_whose_film_it_is() -> None:
    resources = told(probability=0.07)
    report, observation = resources["DiagnosticReport"], resources["Observation"]
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    assert observation["component"][0]["valueQuantity"]["value"] == 7.0
    assert report["subject"]["identifier"]["value"] == "PID42"
    assert report["basedOn"][0]["identifier"]["value"] == "ACC77"
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{STUDY}"
    assert FILM in observation["derivedFrom"][0]["display"]
    assert report["status"] == observation["status"] == "preliminary"
    assert report["conclusion"] == "Pneumonia: present. RESEARCH - not for diagnosis."
    assert (report["effectiveDateTime"], report["issued"]) == ("2026-03-04", "2026-03-04T23:05:06+09:00")


def test_what_is_no_chest_film_has_no_value_and_no_number() -> None:
    observation = told("NOT_A_CHEST_FILM")["Observation"]
    assert told("NOT_A_CHEST_FILM", probability=None)["Observation"] == observation
    assert "dataAbsentReason" in observation
    assert not {"component", "valueCodeableConcept"} & set(observation)
    assert "81.25" not in json.dumps(observation)


def test_names_and_dates_of_birth_stay_behind() -> None:
    made = fhir_bundle(hospital_film(), finding(), writer(), made_at=MADE_AT).decode()
    assert not [word for word in ("Doe", "Jane", "1950", "Referrer") if word in made]
    strange = hospital_film({0x00100020: (b"LO", b"\xff\xfe"), 0x00080020: (b"DA", b"TODAY")})
    assert not {"subject", "effectiveDateTime"} & set(told(film=strange)["DiagnosticReport"])


def test_it_is_the_same_each_time_and_goes_with_the_report() -> None:
    film = hospital_film()
    once, again = (fhir_bundle(film, finding(), writer(), made_at=MADE_AT) for _ in range(2))
    assert once == again
    report = make_results(film, finding(), writer(), made_at=MADE_AT)[0]
    assert json.loads(once)["entry"][0]["fullUrl"] == f"urn:oid:{report.sop_instance_uid}"


@pytest.mark.parametrize("probability", [1 / 3, 1e-9, 0.9999999999999999])
def test_the_number_is_the_probability(probability: float) -> None:
    value = told(probability=probability)["Observation"]["component"][0]["valueQuantity"]["value"]
    assert Decimal(repr(value)) == pytest.approx(Decimal(repr(probability)) * 100, rel=Decimal("1e-15"))


def test_it_is_written_for_its_owner_alone_and_again_into_the_same_file(tmp_path: Path) -> None:
    for _ in range(2):
        path = write_fhir(
            tmp_path / "fhir", hospital_film(), finding(), writer(), made_at=MADE_AT, undeclared="ISO_IR 100"
        )
    assert [one.name for one in (tmp_path / "fhir").iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == fhir_bundle(hospital_film(), finding(), writer(), made_at=MADE_AT)
    assert path.stem in json.loads(path.read_bytes())["entry"][0]["fullUrl"]


def test_a_node_writes_it_where_its_settings_name_a_folder(tmp_path: Path) -> None:
    row = {
        "label": "NORMAL",
        "probability": 0.125,
        "threshold": 0.5,
        "warnings": ["far_from_training_films"],
        "pixels_sha256": "0" * 64,
    }
    for fhir in ("", "fhir"):
        config = Config(node=NodeSettings(fhir=fhir), folder=tmp_path)
        tools = SimpleNamespace(config=config, writer=writer())
        _write_and_list_messages(tools, hospital_film(), row, MADE_AT)  # type: ignore[arg-type]
    (path,) = tmp_path.rglob("*.json")
    assert path.parent == tmp_path / "fhir"
    assert b"272519000" in path.read_bytes()
