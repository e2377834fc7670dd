"""Export, and agreement with final diagnoses."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from queue_rows import job, refused

from pneumoscan.errors import LayoutError, NothingUsableError
from pneumoscan.evaluate.intervals import wilson
from pneumoscan.node.queue import State
from pneumoscan.node.watch.agreement import COLUMNS, agreement_of, csv_of, read_diagnoses


def test_export_has_every_row_with_all_digits() -> None:
    jobs = [job(probability=1 / 3, accession_number="=cmd()", warnings="near_threshold"), refused()]
    rows = list(csv.DictReader(io.StringIO("".join(csv_of(jobs)))))
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["probability"]) == 1 / 3
    assert rows[0]["accession_number"] == "'=cmd()"
    assert (rows[0]["found_at"], rows[0]["seconds"]) == ("2026-01-05T09:00:00+00:00", "12.000")
    assert (rows[1]["state"], rows[1]["code"], rows[1]["probability"]) == ("refused", "film.view", "")


def test_agreement_counts_studies_and_uses_wilsons_interval() -> None:
    jobs = [
        job(label="PNEUMONIA", accession_number="A"),
        job(label="NORMAL", accession_number="A"),
        job(label="NORMAL", accession_number="B"),
        job(label="PNEUMONIA", accession_number="C"),
        job(label="UNSURE", probability=0.6, accession_number="D", warnings="near_threshold"),
        job(label="NOT_A_CHEST_FILM", accession_number="E", probability=0.9),
        job(label="PNEUMONIA", accession_number="not in the table"),
        job(label="NORMAL", accession_number="B", reading="other", probability=0.9),
        refused(accession_number="F"),
    ]
    jobs.append(job(accession_number="G", label="", probability=None, state=State.FETCHED))
    found = agreement_of(jobs, {"A": 1, "B": 1, "C": 0, "D": 1, "E": 1, "F": 0, "G": 1})
    assert (found.studies, found.not_found) == (6, 1)
    assert (found.unsure, found.not_a_chest_film, found.not_read) == (1, 1, 1)
    assert (found.sensitivity.count, found.sensitivity.of) == (1, 4)
    assert found.sensitivity.ci95 == wilson(1, 4)
    assert (found.specificity.count, found.specificity.of) == (0, 2)
    assert (found.answered_sensitivity.count, found.answered_sensitivity.of) == (1, 2)
    assert (found.answers.answered.count, found.answers.confident_and_wrong.count) == (3, 2)
    said = " ".join(found.sentences())
    assert "25.0% (95% CI" in said
    assert "1 of 4" in said
    with pytest.raises(NothingUsableError):
        agreement_of(jobs, {"Z": 1})


@pytest.mark.parametrize(
    "last",
    [
        {"label": "UNSURE", "probability": 0.97, "warnings": "far_from_training_films"},
        {"label": "NOT_A_CHEST_FILM", "probability": 0.99},
        {"label": "NOT_A_CHEST_FILM", "probability": None},
        {"label": "", "probability": None, "state": State.REFUSED, "code": "film.damaged"},
        {"label": "", "probability": None, "state": State.PARKED, "code": "film.crash"},
        {"label": "", "probability": None, "state": State.CONFLICT},
    ],
)
def test_a_pneumonia_that_was_not_answered_counts_as_missed(last: dict[str, Any]) -> None:
    jobs = [job(label="PNEUMONIA", accession_number=number) for number in "ABC"]
    found = agreement_of([*jobs, job(accession_number="D", **last)], dict.fromkeys("ABCD", 1))
    assert (found.sensitivity.count, found.sensitivity.of) == (3, 4)
    assert "100" not in " ".join(found.sentences())


def test_a_study_is_answered_by_the_film_that_says_most() -> None:
    jobs = [
        refused(accession_number="A"),
        job(label="NOT_A_CHEST_FILM", probability=0.99, accession_number="A"),
        job(label="PNEUMONIA", accession_number="A"),
    ]
    found = agreement_of(jobs, {"A": 1})
    assert (found.sensitivity.count, found.sensitivity.of, found.not_read) == (1, 1, 0)


def test_diagnoses_are_read(tmp_path: Path) -> None:
    table = tmp_path / "final.csv"
    table.write_text(
        "accession_number,diagnosis\nA,PNEUMONIA\nB,normal\nC,1\nD,no\nA,yes\n", encoding="utf-8-sig"
    )
    assert read_diagnoses(table) == {"A": 1, "B": 0, "C": 1, "D": 0}


@pytest.mark.parametrize(
    "text",
    [
        "accession_number,diagnosis\nSECRET,perhaps\n",
        "number,diagnosis\nSECRET,1\n",
        "accession_number,diagnosis\nSECRET,1\nSECRET,0\n",
    ],
)
def test_a_bad_table_is_refused_by_its_line_alone(text: str, tmp_path: Path) -> None:
    table = tmp_path / "final.csv"
    table.write_text(text)
    with pytest.raises(LayoutError, match=r"line [23]") as refusal:
        read_diagnoses(table)
    assert "SECRET" not in str(refusal.value)


def test_a_table_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.csv", "binary.csv"):
        with pytest.raises(LayoutError, match=name):
            read_diagnoses(tmp_path / name)
