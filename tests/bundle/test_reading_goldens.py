"""A change of the code changes no row: those in `reading_goldens.csv` are those of before."""

import csv

import pytest
import reading_goldens as goldens


def test_every_picture_has_the_stored_row():
    stored = list(csv.reader(goldens.GOLDENS.read_text(encoding="utf-8").splitlines(keepends=True)))
    found = list(csv.reader(goldens.rows().decode().splitlines(keepends=True)))
    columns = stored[0]
    assert len(stored) == len(found) > 100
    for old, new in zip(stored, found, strict=True):
        was, now = dict(zip(columns, old, strict=True)), dict(zip(found[0], new, strict=True))
        probability = was.pop("probability"), now.pop("probability")
        assert now == was
        if "." in probability[0]:
            assert float(probability[1]) == pytest.approx(float(probability[0]), abs=1e-6)
        else:
            assert probability[0] == probability[1]
