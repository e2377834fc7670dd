"""Counts, shares and quantiles by week and device."""

from datetime import date

import pytest
from queue_rows import job, refused

from pneumoscan.node.queue import State
from pneumoscan.node.watch import figures_of, grouped, week_of


def test_a_week_is_counted_by_device_and_for_all() -> None:
    jobs = [
        job(probability=0.2),
        job(probability=0.8, label="PNEUMONIA", device="Maker Two"),
        job(probability=0.5, label="UNSURE", done_at=None, state=State.STORED),
        job(probability=0.99, label="NOT_A_CHEST_FILM"),
        refused(),
        job(label="", probability=None, state=State.PARKED, code="film.crash", device=""),
    ]
    everything, one, two, unnamed = figures_of(grouped(jobs))
    assert (everything.week, everything.device) == ("2026-W02", "")
    assert (everything.found, everything.read, everything.refused, everything.failed) == (6, 4, 1, 1)
    assert everything.waiting == 1
    assert everything.labels == {"NORMAL": 1, "NOT_A_CHEST_FILM": 1, "PNEUMONIA": 1, "UNSURE": 1}
    assert everything.score_quantiles[2] == pytest.approx(0.5)
    assert (everything.unsure_share, everything.not_a_chest_film_share) == (0.25, 0.25)
    assert everything.refused_share == pytest.approx(1 / 6)
    assert everything.seconds_median == everything.seconds_95 == 12
    assert (one.device, one.found, two.device, two.found) == ("Maker One", 4, "Maker Two", 1)
    assert (unnamed.device, unnamed.read, unnamed.unsure_share, unnamed.score_quantiles) == (
        "not named",
        0,
        None,
        None,
    )
    assert everything.to_json()["refused_share"] == pytest.approx(1 / 6)


def test_weeks_are_those_of_the_study_and_of_the_arrival_where_no_date_is_told() -> None:
    assert week_of(job(date(2026, 1, 5), study_date="20251229")) == "2026-W01"
    assert week_of(job(date(2026, 1, 5), study_date="")) == "2026-W02"
    assert week_of(job(date(2026, 1, 5), study_date="GARBAGE")) == "2026-W02"


def test_second_readings_and_variants_are_left_out() -> None:
    jobs = [job(), job(reading="0123"), job(variant="ab", state=State.CONFLICT)]
    assert [one.found for one in figures_of(grouped(jobs))] == [1, 1]
    assert figures_of(grouped([])) == []
