"""How long it will take, and what the dry run says."""

from pathlib import Path

import pytest

from pneumoscan.study.forecast import (
    BASELINE_CORE_MS,
    PUBLIC_SET,
    FilmCounts,
    forecast_of,
    in_words,
    pace_of,
    relative_cost,
    seconds_of,
)
from pneumoscan.study.plan import read_plan
from pneumoscan.study.trial_records import StudyFolder, read_record
from pneumoscan.study.trials import Conditions, Machine, first_trials, trial_of, unique
from pneumoscan.train.config import load_config

CONDITIONS = Conditions(Machine(2, "bfloat16", "cpu"), "", "")
ARTICLE = Path(__file__).parents[2] / "studies" / "article.toml"


def trial(*assignments: str):
    return trial_of(load_config("baseline-quick", None, assignments), 0, CONDITIONS)


@pytest.mark.parametrize(
    ("assignments", "measured"),
    [
        ((), 1.0),
        (("data.size=100",), 0.28),
        (("data.size=150",), 0.60),
        (("model.channels=[64,64,64,64]",), 2.54),
        (("model.channels=[16,16,16,16]",), 0.47),
        (("model.channels=[16,32,64,128]",), 0.98),
        (("model.channels=[64,32,32,16]",), 1.55),
        (("model.kernel_sizes=[7,3,3,3]",), 1.12),
        (("model.channels=[32,32,32,32,32]", "model.pool=[true,false,true,true,true]"), 1.35),
        (("model.channels=[32,48,64]",), 1.43),
    ],
)
def test_the_cost_model_is_near_what_was_measured(assignments: tuple[str, ...], measured: float) -> None:
    assert relative_cost(trial(*assignments)) == pytest.approx(measured, rel=0.2)


def test_a_network_that_reads_lungs_costs_what_its_second_channel_adds() -> None:
    lungs = trial("data.input=lungs", "data.normalisation=per_film", "model.inputs=2")
    assert 1 < relative_cost(lungs) / relative_cost(trial("data.normalisation=per_film")) < 1.2


def test_an_epoch_of_the_baseline_takes_what_it_took() -> None:
    pace = pace_of([], [], PUBLIC_SET)
    longer, shorter = trial("loop.epochs=13"), trial("loop.epochs=12")
    epoch = seconds_of(longer, pace, PUBLIC_SET) - seconds_of(shorter, pace, PUBLIC_SET)
    assert pace.core_ms == BASELINE_CORE_MS
    assert epoch == pytest.approx(14, rel=0.05)


def test_measured_trials_set_the_pace(finished_study) -> None:
    out, _, notes = finished_study
    plan, _ = read_plan(out / "study.toml")
    folder = StudyFolder(out)
    from pneumoscan.study.trial_records import read_facts

    facts = read_facts(folder)
    assert facts is not None
    planned = unique(first_trials(plan, facts.conditions))
    records = [record for answer in notes.answers if (record := read_record(folder, answer.name))]
    sizes = FilmCounts(facts.train, facts.held_out)
    pace = pace_of(planned, records, sizes)
    assert pace.measured == len([answer for answer in notes.answers if answer.status == "done"])
    base = planned[0].trial
    measured = next(record for record in records if record.name == base.name)
    training = max(measured.origin["seconds"]) * 2
    assert seconds_of(base, pace, sizes) < 20 * training + 20


def test_the_dry_run_counts_and_writes_nothing(plan_file: Path, film_folder: Path, tmp_path: Path) -> None:
    forecast = forecast_of(plan_file, data=film_folder, out=tmp_path / "out")
    assert [entry.title for entry in forecast.entries][-1] == "rates / the best of sgd, further seed 1 of 1"
    assert len(forecast.left) == 9
    assert forecast.entries[0].places == ("baseline", "depth")
    assert forecast.sizes.train + forecast.sizes.held_out == 36
    assert not forecast.assumed
    assert not (tmp_path / "out").exists()
    assert forecast_of(plan_file, jobs=2).seconds_left == pytest.approx(
        forecast_of(plan_file).seconds_left, rel=1.0
    )


def test_the_dry_run_knows_what_is_done(finished_study) -> None:
    out, _, notes = finished_study
    forecast = forecast_of(out / "study.toml", out=out)
    done = [entry for entry in forecast.entries if entry.status]
    assert len(done) == 6
    assert sum(entry.status == "diverged" for entry in done) == 1
    assert forecast.pace.measured >= 4
    assert notes.answers


def test_the_article_fits_into_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumoscan.study.execute.usable_cores", lambda: 2)
    forecast = forecast_of(ARTICLE)
    assert len(forecast.left) >= 35
    assert forecast.assumed
    assert 3 < forecast.seconds_left / 3600 < 7


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.4, "5 s"), (89, "89 s"), (600, "10 min"), (3 * 3600 + 900, "3.2 h")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
