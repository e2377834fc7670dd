"""When weeks differ from the reference weeks, and when they must not."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from queue_rows import job, week_of_jobs

from pneumoscan.errors import UsageError
from pneumoscan.node.queue import Job
from pneumoscan.node.watch.drift import drift_of

FIRST = date(2026, 1, 5)
NOW = "2026-W30"


def weeks(seed: int, changed: dict[str, Any] | None = None, *, n: int = 120, after: int = 2) -> list[Job]:
    """Eight reference weeks, and weeks after them, the last of which is changed."""
    rng = np.random.default_rng(seed)
    rows = []
    for week in range(8 + after):
        options = changed if changed and week == 7 + after else {}
        rows += week_of_jobs(FIRST + timedelta(weeks=week), rng, n=n, **options)
    return rows


def test_weeks_like_the_reference_do_not_differ() -> None:
    drift = drift_of(weeks(1), this_week=NOW)
    assert drift.reference == tuple(f"2026-W{week:02d}" for week in range(2, 10))
    assert drift.weeks == ("2026-W10", "2026-W11")
    assert not drift.differs
    # Scores and three shares, for all devices together and for each of two, in two weeks.
    assert len(drift.comparisons) == 2 * 3 * 4
    assert drift.sentences == (
        "No difference between 2026-W10 to 2026-W11 and the reference weeks (2026-W02 to 2026-W09) was found in 24 comparisons.",
    )


@pytest.mark.parametrize(
    ("changed", "measure", "words"),
    [
        ({"beta": (2.2, 1.4)}, "scores", "The median score on all devices together is higher:"),
        ({"unsure": 0.4}, "UNSURE", "The share of UNSURE on all devices together is higher:"),
        (
            {"strange": 0.2},
            "NOT_A_CHEST_FILM",
            "The share of NOT_A_CHEST_FILM on all devices together is higher:",
        ),
        ({"refusals": 0.4}, "refused", "The share of refusals on all devices together is higher:"),
    ],
)
def test_a_change_is_found_and_said_in_words(changed: dict[str, Any], measure: str, words: str) -> None:
    drift = drift_of(weeks(2, changed), this_week=NOW)
    changed_ones = {(one.week, one.measure) for one in drift.comparisons if one.differs}
    assert changed_ones == {("2026-W11", measure)}
    assert any(said.startswith(words) and "2026-W11" in said for said in drift.sentences)


def test_a_change_of_one_device_names_it() -> None:
    rng = np.random.default_rng(5)
    rows = weeks(5, after=1)
    rows += week_of_jobs(FIRST + timedelta(weeks=9), rng, n=80, devices=("Maker One",))
    rows += week_of_jobs(FIRST + timedelta(weeks=9), rng, n=80, beta=(5, 1), devices=("Maker Two",))
    drift = drift_of(rows, this_week=NOW)
    said = [one for one in drift.comparisons if one.differs and one.device]
    assert {(one.device, one.measure) for one in said} == {("Maker Two", "scores")}
    assert any("on Maker Two is higher" in sentence for sentence in drift.sentences)


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised() -> None:
    """No change at all: of 400 weeks at most 0.05 / 52 should differ, so hardly one does."""
    alarms = 0
    for seed in range(100):
        drift = drift_of(weeks(100 + seed, n=60, after=4), this_week=NOW)
        alarms += len({one.week for one in drift.comparisons if one.differs})
    assert alarms <= 2


def test_films_of_one_study_count_once() -> None:
    rows = weeks(3, after=1)
    rows += [
        job(FIRST + timedelta(weeks=8), probability=0.97, label="PNEUMONIA", study_instance_uid="1.9")
    ] * 200
    assert not drift_of(rows, this_week=NOW).differs


def test_the_week_that_is_not_over_is_left_out() -> None:
    assert drift_of(weeks(4), this_week="2026-W11").weeks == ("2026-W10",)


def test_the_reference_can_be_chosen() -> None:
    drift = drift_of(weeks(4), this_week=NOW, reference=("2026-W03", "2026-W04"))
    assert drift.reference == ("2026-W03", "2026-W04")
    assert drift.weeks[0] == "2026-W05"
    with pytest.raises(UsageError, match="reference weeks"):
        drift_of([], this_week=NOW, reference=("2026-W04", "2026-W03"))


def test_what_cannot_be_compared_is_said() -> None:
    assert drift_of([], this_week=NOW).sentences == ("No week is over yet, so there is nothing to compare.",)
    assert "after the reference weeks" in drift_of(weeks(4, after=0), this_week=NOW).sentences[0]
    few = [*weeks(4, after=0), *week_of_jobs(FIRST + timedelta(weeks=8), np.random.default_rng(1), n=7)]
    assert drift_of(few, this_week=NOW).sentences == (
        "2026-W10 has too few studies to be compared (7; 20 are needed).",
    )
    model = weeks(4, {"model": "other@0123456789ab"})
    assert "another model" in drift_of(model, this_week=NOW).sentences[-1]
    new = weeks(4, {"devices": ("Maker Three",)})
    assert any(
        "from Maker Three, of which the reference weeks have none" in one
        for one in drift_of(new, this_week=NOW).sentences
    )
