"""Evaluate a model on one split: choose threshold and films, classify them, and write the results."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscan.bundle.load import Bundle, find_bundle, load_bundle
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import Manifest, Split
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import ConfigError, NothingUsableError, UsageError
from pneumoscan.evaluate.facts import (
    HELD_OUT,
    LOOKS,
    cautions,
    data_facts,
    last_look,
    looks_with,
    model_facts,
    thumbnails,
)
from pneumoscan.evaluate.reading import Progress, ReadSplit, read_split
from pneumoscan.evaluation.metrics import Metrics, check_threshold
from pneumoscan.evaluation.report import EvaluatedSplit, write_evaluation
from pneumoscan.files import check_writable, make_folder, write_json
from pneumoscan.imaging.perturbation import PERTURBATIONS


def evaluate(
    model: Path,
    data: Sources,
    *,
    split: str,
    out: Path,
    threshold: float | None = None,
    operating_point: str | None = None,
    stress: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Metrics:
    """Evaluate a model on one split and write the folder of results.

    Args:
        model: A bundle folder, or a run folder with `bundle/` in it.
        data: Sources for `data.layouts.load_sites`.
        split: `train`, `val`, `test`, or `held-out`: the films of `train` that the run held out.
        out: Folder of the results, created if absent.
        threshold: Threshold in [0, 1]; by default that of the operating point.
        operating_point: An operating point of the model; by default its default one.
        stress: Also evaluate the films with the perturbations of `imaging.perturbation`.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with films done and films in all.
        command: The command line, for the report.

    Returns:
        The metrics of the films that could be read.

    Raises:
        UsageError: The split or model does not exist, both a threshold and an operating point are given, the run was not
            exported yet, or `held-out` is given for a model outside a run folder.
        DataDamagedError: The run held out other films than these, or `looks.json` of an earlier evaluation is damaged.
        ConfigError: The model has no operating point with this name.
        LayoutError: The data have no known layout.
        NothingUsableError: The split has no readable film.
        BundleError: The model is damaged.
        DiskFullError, NotWritableError: The report cannot be written.
    """
    if threshold is not None and operating_point is not None:
        raise UsageError("both a threshold and an operating point are given.", "Give one of the two.")
    check_writable(out)
    _check_model(model)
    bundle = load_bundle(model)
    cut, source = _cut_off(bundle, threshold, operating_point)
    manifest = _of_split(load_sites(data), split, data, bundle)
    views = PERTURBATIONS if stress else ()
    read = read_split(
        bundle, manifest, threshold=cut, perturbations=views, workers=workers, progress=progress
    )
    evaluated = _evaluated(bundle, manifest, read, data, split=split, cut=cut, source=source, command=command)
    if split != "test" or manifest.synthetic:
        return write_evaluation(out, evaluated)
    looks = looks_with(out, bundle, read)
    make_folder(out)
    write_json(out / LOOKS, looks)
    return write_evaluation(out, replace(evaluated, cautions=(last_look(looks), *evaluated.cautions)))


def _evaluated(
    bundle: Bundle,
    manifest: Manifest,
    read: ReadSplit,
    data: Sources,
    *,
    split: str,
    cut: float,
    source: str,
    command: str,
) -> EvaluatedSplit:
    """Return the films, the predictions and the facts that the report needs."""
    return EvaluatedSplit(
        model=bundle.spec.name,
        split=split,
        y_true=np.array([film.label for film in read.films], dtype=np.int64),
        y_prob=read.y_prob,
        paths=tuple(film.path for film in read.films),
        patient_ids=tuple(film.patient_id for film in read.films),
        threshold=cut,
        threshold_source=source,
        views=read.views,
        sites=tuple(film.site for film in read.films),
        labels=tuple(row.label for row in read.rows),
        warnings=tuple(row.warnings for row in read.rows),
        resembles=tuple(row.site for row in read.rows),
        refused=read.refused,
        operating_points=bundle.spec.thresholds,
        cautions=cautions(bundle, read, split, synthetic=manifest.synthetic),
        thumbnail=thumbnails(manifest, read.films),
        model_facts=model_facts(bundle),
        data_facts=data_facts(data, manifest, read),
        command=command,
    )


def _check_model(model: Path) -> None:
    """Raise an error for a run that was not exported. Loading reports other problems."""
    is_run = (model / "history.jsonl").exists() or (model / "config.toml").exists()
    if is_run and not (model / "model.json").exists() and not (model / "bundle").exists():
        raise UsageError(
            f"{model} is a run without a bundle.",
            f"Run: pneumoscan export {model} --data DIR, with the films it was trained on.",
        )
    find_bundle(model)


def _cut_off(bundle: Bundle, threshold: float | None, operating_point: str | None) -> tuple[float, str]:
    if threshold is not None:
        return check_threshold(threshold), "given by hand for this evaluation"
    name = operating_point or bundle.spec.default_operating_point
    if name not in bundle.spec.thresholds:
        raise ConfigError(
            f"model {bundle.spec.name} has no operating point {name!r}.",
            f"It has {', '.join(sorted(bundle.spec.thresholds))}.",
        )
    point = bundle.spec.thresholds[name]
    return float(point["threshold"]), f"{name}: {point['source']}"


def _of_split(manifest: Manifest, split: str, data: Sources, bundle: Bundle) -> Manifest:
    if split == HELD_OUT:
        return _held_out(manifest.of_split("train"), bundle)
    known: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
    if split not in known:
        raise UsageError(f"there is no split {split!r}.", f"Use one of {', '.join((*known, HELD_OUT))}.")
    part = manifest.of_split(known[split])
    if not part.films:
        there = sorted({film.split for film in manifest.films})
        raise NothingUsableError(
            f"{as_words(data)} has no films of the split {split}.",
            f"It has {', '.join(there) or 'no films at all'}.",
        )
    return part


def _held_out(train: Manifest, bundle: Bundle) -> Manifest:
    """Return the films that the run around the bundle held out."""
    table = bundle.path.parent / "split.csv"
    if not table.is_file():
        raise UsageError(
            f"{bundle.path} is not in a run folder with a split.csv, so the held-out films are unknown.",
            "Give a run folder, or another split.",
        )
    return train.take(read_split_csv(table, train).val)
