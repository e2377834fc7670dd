"""What early stopping would have done, against the loop that does it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pneumoscan.study.differences import peak_of, stop_of
from pneumoscan.study.trial_records import StudyFolder, read_record
from pneumoscan.train.config import load_config


def history(*losses: float) -> list[dict[str, float]]:
    return [
        {"epoch": place, "val_loss": loss, "val_accuracy": 1 - loss / 2}
        for place, loss in enumerate(losses, start=1)
    ]


def test_a_run_that_gets_worse_again() -> None:
    peak = peak_of(history(0.5, 0.3, 0.2, 0.4, 0.6))
    assert peak is not None
    assert (peak.best_epoch, peak.best_loss, peak.last_loss, peak.epochs) == (3, 0.2, 0.6, 5)
    assert (peak.best_accuracy_epoch, peak.best_accuracy) == (3, 0.9)
    stop = stop_of(history(0.5, 0.3, 0.2, 0.4, 0.6), 1)
    assert (stop.stopped, stop.kept, stop.loss) == (4, 3, 0.2)
    assert stop.saved == pytest.approx(0.2)


def test_a_short_patience_misses_a_later_low() -> None:
    stop = stop_of(history(0.5, 0.6, 0.7, 0.1), 2)
    assert (stop.stopped, stop.kept, stop.loss, stop.saved) == (3, 1, 0.5, 0.25)


def test_a_run_that_only_gets_better_is_never_stopped() -> None:
    stop = stop_of(history(0.5, 0.4, 0.3), 1)
    assert (stop.stopped, stop.kept, stop.saved) == (3, 3, 0)


def test_a_loss_that_is_no_number_has_no_peak() -> None:
    assert peak_of([*history(0.5), {"epoch": 2, "val_loss": None, "val_accuracy": 0.5}]) is None
    assert peak_of([]) is None


def test_it_says_what_the_mechanism_does(write_plan: Callable[[str], Path], run_plan, tmp_path: Path) -> None:
    assert load_config("baseline").loop.early_stopping == 0
    long = '"loop.epochs" = 8, "optimizer.learning_rate" = 0.01'
    plan = write_plan(
        f"""
[[section]]
name = "s"
title = "S"
question = "?"
[[section.variant]]
name = "whole"
change = {{ {long} }}
why = "w"
expect = "e"
[[section.variant]]
name = "stopped-1"
change = {{ {long}, "loop.early_stopping" = 1 }}
why = "w"
expect = "e"
[[section.variant]]
name = "stopped-2"
change = {{ {long}, "loop.early_stopping" = 2 }}
why = "w"
expect = "e"
"""
    )
    plan.write_text(plan.read_text().replace("seeds = 2", "seeds = 1"))
    notes = run_plan(plan)
    records = [read_record(StudyFolder(tmp_path / "out"), answer.name) for answer in notes.answers]
    whole = records[1]
    assert whole is not None
    for patience, stopped in enumerate(records[2:], start=1):
        assert stopped is not None
        told = stop_of(whole.history, patience)
        assert (told.stopped, told.kept) == (stopped.facts["epochs"], stopped.facts["kept_epoch"])
        assert told.loss == stopped.figures["val_loss"]
    assert len(records) == 4
