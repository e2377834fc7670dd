"""Measure the figures of a model card: one record for each section."""

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscan.bundle.checks import MAP_OUTPUT
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.card import heatmaps, latency, ood
from pneumoscan.classifier import model_name
from pneumoscan.data.layouts import Sources, load_sites
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import FilmError, UsageError
from pneumoscan.evaluate import HELD_OUT, evaluate
from pneumoscan.files import make_folder, write_json
from pneumoscan.imaging import Film, preprocess

MOST_FILMS = 1000
Note = Callable[[str], None]
Progress = Callable[[int, int], None]


def measure_run(
    run: Path,
    data: Sources,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    note: Note = lambda _: None,
    command: str = "pneumoscan card",
) -> None:
    """Measure an exported run on its held-out films and on synthetic pictures; write the records.

    Args:
        run: The run folder, with `bundle/`, `split.csv`, `history.jsonl` and `manifest.json`.
        data: The films that it was trained on, as `data.layouts.load_sites` reads them.
        folder: Folder of the records; created if absent.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with films done and films in all, while the held-out films are evaluated.
        note: Called with a description of each step.
        command: The command line, for the records.

    Raises:
        UsageError: `run` is not an exported run.
        DataDamagedError: The run held out other films than these.
        BundleError: The model is damaged.
        DiskFullError, NotWritableError: A record cannot be written.
    """
    bundle = load_bundle(run)
    files = [run / name for name in ("split.csv", "history.jsonl", "manifest.json")]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise UsageError(f"{run} is not a run folder: it has no {missing[0]}.", "Name the folder of a run.")
    note("evaluating the held-out films in 11 views")
    _write_seed(bundle, run, data, folder, workers, progress)
    facts = {"command": command, "model": model_name(bundle), "machine": _machine()}
    films, labels = _films(run, data)
    if bundle.spec.guard:
        note("measuring the out-of-distribution detector")
        found = ood.measure(bundle, films, films_are="held out by the run")
        write_json(folder / "guard.json", {**facts, **found})
    if MAP_OUTPUT in bundle.spec.outputs:
        note("checking the heatmaps")
        inputs = [preprocess(film, bundle.spec.preprocessing) for film in films]
        write_json(folder / "heatmaps.json", {**facts, **heatmaps.measure(bundle, inputs, labels)})
    note("timing a film")
    write_json(folder / "latency.json", {**facts, **latency.measure(bundle)})


def _write_seed(
    bundle: Bundle, run: Path, data: Sources, folder: Path, workers: int | None, progress: Progress | None
) -> None:
    """Write the records of the run itself: metrics, history, and manifest without the list of films."""
    own = make_folder(folder / f"seed-{bundle.spec.training.get('seed')}")
    evaluation = folder / "evaluation"
    evaluate(run, data, split=HELD_OUT, out=evaluation, stress=True, workers=workers, progress=progress)
    shutil.copyfile(evaluation / "metrics.json", own / "metrics.json")
    shutil.copyfile(run / "history.jsonl", own / "history.jsonl")
    manifest: Mapping[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    write_json(
        own / "manifest.json", {name: value for name, value in manifest.items() if name != "film_sha256"}
    )


def _films(run: Path, data: Sources) -> tuple[list[Film], Any]:
    """Return at most `MOST_FILMS` held-out films of the run, at equal distances in the list, and their labels."""
    train = load_sites(data).of_split("train")
    held = train.take(read_split_csv(run / "split.csv", train).val)
    films, labels = [], []
    for record in held.films[:: max(1, -(-len(held) // MOST_FILMS))]:
        try:
            films.append(held.read(record))
        except FilmError:
            continue
        labels.append(record.label)
    return films, np.array(labels, dtype=np.int64)


def _machine() -> dict[str, str]:
    return {"processor": platform.processor() or platform.machine(), "system": platform.system()}
