"""A study from plan to records: complete, resumable, and the same bytes whatever happens on the way."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumoscan.errors import ConfigError, DataDamagedError, LockedError
from pneumoscan.files import locked
from pneumoscan.study import trial
from pneumoscan.study.execute import StudyOrder, run_study
from pneumoscan.study.trial_records import StudyFolder, read_record
from pneumoscan.train.config import read_toml_config

FILES = {
    "config.toml", "history.jsonl", "origin.json", "predictions.csv", "stress_resamples.csv", "trial.json",
}  # fmt: skip


def names_of(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "trials").iterdir())


def test_every_trial_leaves_its_record(finished_study) -> None:
    out, _, notes = finished_study
    assert [answer.status for answer in notes.answers].count("diverged") == 1
    assert {answer.status for answer in notes.answers} == {"done", "diverged"}
    # Six first trials, then one more seed of the best of depth (if it is not the baseline), of Adam and of SGD.
    assert len(notes.answers) in {8, 9}
    assert names_of(out) == sorted(answer.name for answer in notes.answers)
    for answer in notes.answers:
        files = {path.name for path in (out / "trials" / answer.name).iterdir()}
        assert files == (
            FILES if answer.status == "done" else FILES - {"predictions.csv", "stress_resamples.csv"}
        )
    assert not list((out / "trials").rglob("*.safetensors"))


def test_a_record_agrees_with_its_own_history(finished_study) -> None:
    out, _, notes = finished_study
    for answer in notes.answers:
        if answer.status != "done":
            continue
        record = read_record(StudyFolder(out), answer.name)
        assert record is not None
        kept = record.history[record.facts["kept_epoch"] - 1]
        assert record.figures["val_loss"] == kept["val_loss"]
        assert record.figures["roc_auc"] == pytest.approx(kept["val_auc"], abs=1e-12)
        assert record.figures["accuracy"] == pytest.approx(kept["val_accuracy"])
        assert len(record.history) == len(record.origin["seconds"]) == 2
        assert len(record.logits) == record.figures["n"]
        assert [row["threshold"] for row in record.figures["thresholds"]] == [
            percent / 100 for percent in range(10, 91, 5)
        ]
        assert len(record.figures["stress"]["table"]) == 10
        config = read_toml_config(out / "trials" / answer.name / "config.toml")
        assert (config.loop.seed, config.loop.worker_threads) == (record.seed, 1)


def test_a_diverged_trial_is_a_result_with_its_reason(finished_study) -> None:
    out, _, notes = finished_study
    (answer,) = [answer for answer in notes.answers if answer.status == "diverged"]
    record = read_record(StudyFolder(out), answer.name)
    assert record is not None
    assert "loss is" in record.reason or "no longer numbers" in record.reason
    assert record.figures == {}
    assert record.facts["parameters"] > 0


def test_the_held_out_films_are_written_down(finished_study) -> None:
    out, _, _ = finished_study
    rows = list(csv.DictReader((out / "held_out.csv").read_text().splitlines()))
    facts = json.loads((out / "study.json").read_text())
    assert len(rows) == facts["held_out"]
    assert len({row["patient_id"] for row in rows}) == facts["patients"]
    assert {row["y_true"] for row in rows} == {"0", "1"}


def test_a_finished_study_trains_nothing_again(finished_study, study_copy: Path, records_of, notes) -> None:
    _, films, _ = finished_study
    before = records_of(study_copy)
    run_study(study_copy / "study.toml", StudyOrder(films, study_copy), notes)
    assert notes.answers == []
    assert notes.begun_names == []
    assert records_of(study_copy) == before


def test_two_processes_at_once_give_the_same_bytes(finished_study, tmp_path: Path, records_of, notes) -> None:
    out, films, _ = finished_study
    order = StudyOrder(films, tmp_path / "two", jobs=2, only=("depth",))
    run_study(out / "study.toml", order, notes)
    ours, whole = records_of(tmp_path / "two"), records_of(out)
    assert len(notes.answers) >= 3
    assert ours == {name: whole[name] for name in ours}


def test_a_trial_that_breaks_is_a_row_and_is_tried_again(
    write_plan: Callable[[str], Path], run_plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan, judge = write_plan(""), trial.evaluate_network

    def breaks(config, *others):
        if config.loop.seed == 0:
            raise RuntimeError("out of luck")
        return judge(config, *others)

    monkeypatch.setattr(trial, "evaluate_network", breaks)
    first = run_plan(plan)
    assert [(answer.status, answer.reason) for answer in first.answers] == [
        ("failed", "RuntimeError: out of luck"), ("done", ""),
    ]  # fmt: skip
    record = read_record(StudyFolder(tmp_path / "out"), first.answers[0].name)
    assert record is not None
    assert (record.status, len(record.history)) == ("failed", 2)
    monkeypatch.setattr(trial, "evaluate_network", judge)
    again = run_plan(plan)
    assert [(answer.name, answer.status) for answer in again.answers] == [(first.answers[0].name, "done")]


def test_other_films_are_refused_and_nothing_is_lost(
    finished_study, study_copy: Path, tmp_path: Path, notes
) -> None:
    _, films, _ = finished_study
    other = tmp_path / "other"
    shutil.copytree(films, other)
    next(iter(sorted((other / "train" / "NORMAL").iterdir()))).unlink()
    with pytest.raises(DataDamagedError, match="differ from those of the study"):
        run_study(study_copy / "study.toml", StudyOrder(other, study_copy), notes)
    assert read_record(StudyFolder(study_copy), names_of(study_copy)[0]) is not None


def test_one_study_at_a_time(finished_study, study_copy: Path, notes) -> None:
    _, films, _ = finished_study
    with locked(study_copy / "work" / ".lock"), pytest.raises(LockedError):
        run_study(study_copy / "study.toml", StudyOrder(films, study_copy), notes)


def test_a_section_that_is_not_there_is_refused(finished_study, tmp_path: Path, notes) -> None:
    out, films, _ = finished_study
    with pytest.raises(ConfigError, match="no section 'deep'"):
        run_study(out / "study.toml", StudyOrder(films, tmp_path / "out", only=("deep",)), notes)


def test_trials_go_on_with_the_threads_they_were_begun_with(write_plan, run_plan, tmp_path: Path) -> None:
    plan = write_plan("")
    text = plan.read_text().replace('"loop.worker_threads" = 1, ', "")
    plan.write_text(text)
    run_plan(plan)
    threads = json.loads((tmp_path / "out/study.json").read_text())["conditions"]["machine"]["worker_threads"]
    notes = run_plan(plan, jobs=threads + 1)
    assert notes.answers == []
    if threads > 1:
        assert any(f"trials use {threads} worker threads" in note for note in notes.notes)


# Kills


def start(plan: Path, films: Path, out: Path, cache: Path, *extra: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "pneumoscan",
        "study",
        str(plan),
        "--data",
        str(films),
        "--out",
        str(out),
        *extra,
    ]
    environment = {**os.environ, "PNEUMOSCAN_CACHE": str(cache)}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def killed(process: "subprocess.Popen[str]", seconds: float) -> bool:
    """Kill a study so long after it began its first trial; False if it had ended by then."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("begun"):
            break
    time.sleep(seconds)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    return not ended


LONGER = ('loop.epochs" = 2', 'loop.epochs" = 4')


def kill_and_compare(
    plan: Path, films: Path, tmp_path: Path, records_of, notes, *, kills: int, extra: tuple[str, ...]
) -> None:
    plan.write_text(plan.read_text().replace(*LONGER))
    rng, cache, out = random.Random(7), tmp_path / "cache", tmp_path / "killed"
    for _ in range(kills):
        assert killed(start(plan, films, out, cache, *extra), rng.uniform(0.05, 0.9)), (
            "too few trials to kill"
        )
    last = start(plan, films, out, cache, *extra)
    assert "done" in last.communicate(timeout=900)[1]
    assert last.returncode == 0
    run_study(plan, StudyOrder(films, tmp_path / "whole"), notes)
    assert records_of(out) == records_of(tmp_path / "whole")
    assert names_of(out)


def test_a_kill_ends_in_the_same_records(
    write_plan, film_folder: Path, tmp_path: Path, records_of, notes
) -> None:
    kill_and_compare(write_plan(""), film_folder, tmp_path, records_of, notes, kills=1, extra=())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", [(), ("--jobs", "2")], ids=["alone", "two-at-once"])
def test_ten_kills_end_in_the_same_records(
    plan_file: Path, film_folder: Path, tmp_path: Path, records_of, notes, extra: tuple[str, ...]
) -> None:
    kill_and_compare(plan_file, film_folder, tmp_path, records_of, notes, kills=10, extra=extra)


def test_ctrl_c_leaves_a_checkpoint_and_no_process(
    write_plan, film_folder: Path, tmp_path: Path, records_of
) -> None:
    plan = write_plan("")
    plan.write_text(plan.read_text().replace('loop.epochs" = 2', 'loop.epochs" = 40'))
    process = start(plan, film_folder, tmp_path / "out", tmp_path / "cache", "--jobs", "2")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("begun"):
            break
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out/work").rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "the same command continues the study" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert not list((tmp_path / "out").glob("trials/*/trial.json"))
    workers = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in workers
    for place in (tmp_path / "out/work").iterdir():
        with locked(tmp_path / "out/work" / place.name / ".lock" if place.is_dir() else place):
            pass
