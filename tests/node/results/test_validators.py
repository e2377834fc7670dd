"""What independent validators say of the results: `dciodvfy` (dicom3tools) and `DicomSRValidator` (PixelMed)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hospital_films import CHARACTER_SETS, MADE_AT, film_in, finding, hospital_film, writer

from pneumoscan.node.results import Finding, make_results

# Java's own limits are too low for the validator's stylesheet.
_JAVA = " ".join(f"-Djdk.xml.xpath{name}=0" for name in ("TotalOpLimit", "ExprOpLimit", "ExprGrpLimit"))
LABELS = ("PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM")
_WARNED = {"warnings": ("near_threshold", "far_from_training_films", "a_new_one")}


def lines_of(program: str, path: Path, must_say: str) -> list[str]:
    """What a validator says; it must have known what the object is."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dicom3tools, pixelmed-apps)")
    environment = os.environ | {"JAVA_TOOL_OPTIONS": _JAVA}
    done = subprocess.run([program, path], capture_output=True, check=False, env=environment)
    said = (done.stdout + done.stderr).decode("latin-1")
    assert must_say in said
    return said.splitlines()


def made_in(folder: Path, film: bytes, found: Finding) -> dict[str, Path]:
    paths = {}
    for made in make_results(film, found, writer(), made_at=MADE_AT):
        paths[made.kind] = folder / f"{made.kind}.dcm"
        paths[made.kind].write_bytes(made.content)
    return paths


def errors_of(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("Error") or "Exception" in line]


def check_objects(paths: dict[str, Path]) -> None:
    for kind, known_as in (("report", "Comprehensive3DSR"), ("picture", "SCImage")):
        assert errors_of(lines_of("dciodvfy", paths[kind], known_as)) == []


def check_template(report: Path) -> None:
    assert errors_of(lines_of("DicomSRValidator", report, "Root Template Validation Complete")) == []


@pytest.mark.parametrize("label", LABELS)
def test_the_objects_of_every_label_are_without_errors(label: str, tmp_path: Path) -> None:
    check_objects(made_in(tmp_path, hospital_film(), finding(label, **_WARNED)))


@pytest.mark.parametrize("character_set", CHARACTER_SETS)
def test_the_objects_of_every_character_set_are_without_errors(character_set: str, tmp_path: Path) -> None:
    check_objects(made_in(tmp_path, film_in(character_set)[0], finding()))


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_the_report_of_every_label_keeps_to_its_template(label: str, tmp_path: Path) -> None:
    check_template(made_in(tmp_path, hospital_film(), finding(label, **_WARNED))["report"])


@pytest.mark.slow
@pytest.mark.parametrize("character_set", CHARACTER_SETS)
def test_the_report_of_every_character_set_keeps_to_its_template(character_set: str, tmp_path: Path) -> None:
    check_template(made_in(tmp_path, film_in(character_set)[0], finding())["report"])


def test_dciodvfy_finds_an_error_where_there_is_one(tmp_path: Path) -> None:
    report = made_in(tmp_path, hospital_film(), finding())["report"]
    report.write_bytes(report.read_bytes().replace(b"PRELIMINARY ", b"PRELIMINAL  "))
    assert errors_of(lines_of("dciodvfy", report, "Comprehensive3DSR"))


@pytest.mark.slow
def test_dicom_sr_validator_finds_an_error_where_there_is_one(tmp_path: Path) -> None:
    report = made_in(tmp_path, hospital_film(), finding())["report"]
    report.write_bytes(report.read_bytes().replace(b"126010", b"126999"))
    assert errors_of(lines_of("DicomSRValidator", report, "Root Template Validation Complete"))
