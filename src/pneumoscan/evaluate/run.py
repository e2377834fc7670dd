"""Evaluate a model on one split: choose threshold and films, classify them, say what to be careful about, and write the results."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.contents import find_bundle
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import FilmRecord, Manifest, Split
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import ConfigError, DataDamagedError, NothingUsableError, UsageError
from pneumoscan.evaluate.films import EvaluatedSplit, Progress, ReadSplit, read_split
from pneumoscan.evaluate.metrics import Metrics
from pneumoscan.evaluate.report import write_evaluation
from pneumoscan.evaluate.sites import columns_of, named_groups
from pneumoscan.evaluate.thresholds import check_threshold
from pneumoscan.files import check_writable, make_folder, write_json
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.imaging.preprocessing import squash


def evaluate(
    model: Path,
    data: Sources,
    *,
    split: str,
    out: Path,
    threshold: float | None = None,
    operating_point: str | None = None,
    stress: bool = False,
    by: Sequence[str] = (),
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
        by: Columns of the table of films whose groups are evaluated too, such as `view` and `age:18,65`.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with films done and films in all.
        command: The command line, for the report.

    Returns:
        The metrics of the films that could be read.

    Raises:
        UsageError: The split, model or a column of `by` does not exist, both a threshold and an operating point are given, the run was not
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
    columns = columns_of(manifest.films)
    for each in by:
        named_groups(each, columns)
    views = PERTURBATIONS if stress else ()
    read = read_split(
        bundle, manifest, threshold=cut, perturbations=views, workers=workers, progress=progress
    )
    evaluated = _evaluated(
        bundle, manifest, read, data, split=split, cut=cut, source=source, by=by, command=command
    )
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
    by: Sequence[str],
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
        columns=columns_of(read.films),
        by=tuple(by),
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


HELD_OUT = "held-out"
LOOKS = "looks.json"
_THUMBNAIL = 240


def cautions(bundle: Bundle, read: ReadSplit, split: str, *, synthetic: bool) -> tuple[str, ...]:
    """Return cautions about synthetic films, films that the model has seen, and copies."""
    found = []
    if synthetic:
        found.append(
            "These films are synthetic: the figures show that the program works. They say nothing about patients."
        )
    elif bundle.spec.training.get("synthetic"):
        found.append("The model was trained on synthetic films. It says nothing about real ones.")
    found += seen_before(bundle, read, split)
    copies = len(read.sha256) - len(set(read.sha256))
    if copies:
        films = "1 film is an exact copy" if copies == 1 else f"{copies:,} films are exact copies"
        found.append(f"{films} of another film of this split; each counts as a separate film.")
    return tuple(found)


def seen_before(bundle: Bundle, read: ReadSplit, split: str) -> list[str]:
    """Return cautions about films that the model has seen, or may have."""
    used = bundle.training_films()
    seen = sum(digest in used for digest in read.sha256)
    found = []
    if split == HELD_OUT:
        found.append(
            "The run held these films out of its training and chose epoch, temperature and thresholds on them: the "
            "figures are somewhat too good."
        )
        if used and seen < len(read.films):
            films = "1 film is" if len(read.films) - seen == 1 else f"{len(read.films) - seen:,} films are"
            found.append(
                f"{films} not among the films that the model was trained or selected on: films or run have changed."
            )
    elif seen:
        films = "1 of these films was" if seen == 1 else f"{seen:,} of these {len(read.films):,} films were"
        found.append(f"{films} used to train or select this model: the figures are too good.")
    elif split == "train":
        found.append(
            "This is the split that models are trained on: the figures of a model trained on it are too good."
        )
    if not used:
        found.append(
            "The model does not list its training films: it is unknown whether it has seen these films."
        )
    return found


def looks_with(out: Path, bundle: Bundle, read: ReadSplit) -> list[dict[str, Any]]:
    """Return the looks at the split `test` that the folder of an evaluation has on record, and this one.

    A record that cannot be read is an error rather than overwritten, because looks must not be forgotten.

    Raises:
        DataDamagedError: `looks.json` in the folder is not what `evaluate` wrote.
    """
    path, looks = out / LOOKS, []
    if path.exists():
        try:
            looks = json.loads(path.read_text(encoding="utf-8"))
            same = [look for look in looks if look["data_sha256"] == read.data_sha256]
        except (OSError, ValueError, TypeError, KeyError):
            raise DataDamagedError(
                f"{path} cannot be read, so earlier looks at these films are unknown.",
                "Restore it from a copy, or choose a new folder for the evaluation.",
            ) from None
    else:
        same = []
    return [
        *looks,
        {
            "look": len(same) + 1,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": bundle.spec.name,
            "network_sha256": bundle.spec.files.get("model.onnx", ""),
            "films": len(read.films),
            "data_sha256": read.data_sha256,
        },
    ]


def last_look(looks: Sequence[Mapping[str, Any]]) -> str:
    """Return the caution about a look at the split `test`, the last one of `looks`."""
    return (
        "The split test is for the last look, after every choice was made: do not choose anything by these figures. This is look "
        f"{looks[-1]['look']} at these films on record in {LOOKS}."
    )


def thumbnails(manifest: Manifest, films: tuple[FilmRecord, ...]) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a function that gives the uint8 image (h, w) of the film at an index."""

    def picture(index: int) -> npt.NDArray[np.uint8]:
        film = manifest.read(films[index])
        return film.pixels if max(film.pixels.shape) <= _THUMBNAIL * 16 else squash(film, _THUMBNAIL)

    return picture


def model_facts(bundle: Bundle) -> dict[str, str]:
    """Return the facts about the model for the report, in order."""
    spec = bundle.spec
    trained = {f"trained with: {key}": _fact(value) for key, value in spec.training.items()}
    return {
        "bundle": str(bundle.path),
        "network SHA-256": spec.files.get("model.onnx", ""),
        "parameters": f"{spec.parameters:,}",
        "preprocessing": _fact(spec.preprocessing.to_json()),
        "temperature": f"{spec.temperature:.4g}",
        **trained,
        "commit": spec.commit,
        "created": spec.created,
        "licence": _fact(spec.licence),
    }


def data_facts(data: Sources, manifest: Manifest, read: ReadSplit) -> dict[str, str]:
    """Return the facts about the films for the report, in order."""
    return {
        "data": as_words(data),
        "layout": manifest.layout,
        "films": f"{len(read.films):,} read, {len(read.refused):,} refused",
        "split SHA-256": read.data_sha256,
    }


def _fact(value: Any) -> str:
    if hasattr(value, "items"):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
