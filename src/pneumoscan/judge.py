"""Read one split of a data set through a model bundle and have it judged."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import FilmRecord, Manifest, Split
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import ConfigError, FilmError, NothingUsableError, UsageError
from pneumoscan.evaluation.metrics import Metrics, check_threshold
from pneumoscan.evaluation.report import JudgedSplit, write_evaluation
from pneumoscan.imaging.perturbation import PERTURBATIONS, Perturbation
from pneumoscan.imaging.preprocessing import squash
from pneumoscan.inference.batch import answers_of
from pneumoscan.inference.bundle import Bundle, find_bundle, load_bundle
from pneumoscan.inference.rows import probability_of_film

HELD_OUT = "held-out"
_THUMBNAIL = 240
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReadSplit:
    """The films of one split and what the model says of them.

    Attributes:
        films: Those that could be read, in the manifest's order.
        y_prob: float64 (n,), probability of PNEUMONIA in [0, 1].
        sha256: n hashes of the films' bytes, as `data.cache` takes them.
        refused: Those that could not be read: path, error code, message.
        data_sha256: Identifies the split as `data.cache` does: over (path, label, content hash) of all its films.
        views: By name of the perturbation float64 (n,), the probabilities of the films changed so.
    """

    films: tuple[FilmRecord, ...]
    y_prob: npt.NDArray[np.float64]
    sha256: tuple[str, ...]
    refused: tuple[tuple[str, str, str], ...]
    data_sha256: str
    views: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    """What became of one film: its probability as it is and in each view, or the error that refused it."""

    film: FilmRecord
    sha256: str
    probability: float = float("nan")
    views: tuple[float, ...] = ()
    error: FilmError | None = None


def judge(
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
    """Judge a model on one split and write the evaluation folder.

    Args:
        model: A bundle folder, or a run folder with `bundle/` in it.
        data: What `data.layouts.load_sites` reads.
        split: `train`, `val` or `test`; or `held-out`, the films of `train` that the run of the model held out.
        out: The evaluation folder; made if absent.
        threshold: Cut-off in [0, 1]; by default that of the operating point.
        operating_point: One that the model carries; by default the model's own choice.
        stress: Judge the same films in the views of `imaging.perturbation` as well.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with films done and films in all.
        command: The command that asked for it, for the report.

    Returns:
        The figures of the films that could be read.

    Raises:
        UsageError: There is no such split or model, both a threshold and an operating point are given, the run
            was not exported yet, or `held-out` is asked of a model that is in no run folder.
        DataDamagedError: The run held out other films than these.
        ConfigError: The model has no such operating point.
        LayoutError: The data has no layout that is known.
        NothingUsableError: The split has no film that can be read.
        BundleError: The model is damaged.
        DiskFullError, NotWritableError: The report cannot be written.
    """
    if threshold is not None and operating_point is not None:
        raise UsageError("both a threshold and an operating point are given.", "Give one of the two.")
    _check_model(model)
    bundle = load_bundle(model)
    cut, source = _cut_off(bundle, threshold, operating_point)
    manifest = _of_split(load_sites(data), split, data, bundle)
    views = PERTURBATIONS if stress else ()
    read = read_split(bundle, manifest, perturbations=views, workers=workers, progress=progress)
    judged = JudgedSplit(
        model=bundle.spec.name,
        split=split,
        y_true=np.array([film.label for film in read.films], dtype=np.int64),
        y_prob=read.y_prob,
        paths=tuple(film.path for film in read.films),
        patient_ids=tuple(film.patient_id for film in read.films),
        threshold=cut,
        threshold_source=source,
        views=read.views,
        refused=read.refused,
        operating_points=bundle.spec.thresholds,
        cautions=_cautions(bundle, read, split, synthetic=manifest.synthetic),
        thumbnail=_thumbnails(manifest, read.films),
        model_facts=_model_facts(bundle),
        data_facts=_data_facts(data, manifest, read),
        command=command,
    )
    return write_evaluation(out, judged)


def read_split(
    bundle: Bundle,
    manifest: Manifest,
    *,
    perturbations: Sequence[Perturbation] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> ReadSplit:
    """Read every film of a manifest through a model; a film that cannot be read is set aside.

    Args:
        bundle: The model, loaded with one thread.
        manifest: The films, all of one split.
        perturbations: Read each film changed so as well; it is decoded once.
        workers: Threads that decode and run the network; by default one more than cores, at most 8.
        progress: Called with films done and films in all.

    Raises:
        UsageError: `workers` is below 1.
        NothingUsableError: Not one film could be read.
        BundleError: The network does not run.
    """
    work = partial(_read_one, bundle, manifest, perturbations)
    answers = answers_of(work, manifest.films, workers=workers, progress=progress)
    return _gather(answers, [view.name for view in perturbations])


def _gather(answers: Sequence[_Answer], views: Sequence[str]) -> ReadSplit:
    read = [answer for answer in answers if answer.error is None]
    refused = [(answer.film.path, answer.error.code, str(answer.error)) for answer in answers if answer.error]
    if not read:
        first = refused[0][2] if refused else "there is none."
        raise NothingUsableError(
            f"none of {len(refused)} films could be read; the first: {first}", "Check the data."
        )
    rows = sorted((answer.film.path, answer.film.label, answer.sha256) for answer in answers)
    return ReadSplit(
        films=tuple(answer.film for answer in read),
        y_prob=np.array([answer.probability for answer in read], dtype=np.float64),
        sha256=tuple(answer.sha256 for answer in read),
        refused=tuple(refused),
        data_sha256=hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        views={name: np.array([answer.views[i] for answer in read]) for i, name in enumerate(views)},
    )


def _read_one(
    bundle: Bundle, manifest: Manifest, perturbations: Sequence[Perturbation], record: FilmRecord
) -> _Answer:
    try:
        digest = hashlib.sha256(manifest.bytes_of(record)).hexdigest()
    except FilmError as problem:
        return _Answer(record, problem.code, error=problem)
    try:
        film = manifest.read(record)
    except FilmError as problem:
        return _Answer(record, digest, error=problem)
    views = tuple(probability_of_film(bundle, view.apply(film)) for view in perturbations)
    return _Answer(record, digest, probability_of_film(bundle, film), views)


def _check_model(model: Path) -> None:
    """Say what to do where a run was trained but not exported; other problems are told by the loading itself."""
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
            f"{bundle.path} is in no run folder with a split.csv: nobody knows which films were held out.",
            "Name a run folder, or another split.",
        )
    return train.take(read_split_csv(table, train).val)


def _cautions(bundle: Bundle, read: ReadSplit, split: str, *, synthetic: bool) -> tuple[str, ...]:
    """Say what the figures cannot show: films of no patient, and films that the model has seen before."""
    found = []
    if synthetic:
        found.append(
            "These films are synthetic: the figures say that the program works, nothing about any patient."
        )
    elif bundle.spec.training.get("synthetic"):
        found.append("The model was trained on synthetic films: it is no judge of real ones.")
    found += _seen_before(bundle, read, split)
    copies = len(read.sha256) - len(set(read.sha256))
    if copies:
        films = "1 film is an exact copy" if copies == 1 else f"{copies:,} films are exact copies"
        found.append(f"{films} of another film of this split; each counts as a film of its own.")
    return tuple(found)


def _seen_before(bundle: Bundle, read: ReadSplit, split: str) -> list[str]:
    used = bundle.training_films()
    seen = sum(digest in used for digest in read.sha256)
    found = []
    if split == HELD_OUT:
        found.append(
            "The run held these films out of its training and chose epoch, temperature and thresholds on them: the "
            "figures flatter the model somewhat."
        )
        if used and seen < len(read.films):
            films = "1 film is" if len(read.films) - seen == 1 else f"{len(read.films) - seen:,} films are"
            found.append(
                f"{films} none that the model was made with: they, or the run beside it, were changed."
            )
    elif seen:
        films = "1 of these films was" if seen == 1 else f"{seen:,} of these {len(read.films):,} films were"
        found.append(f"{films} used to make this model (trained or chosen on): the figures flatter it.")
    elif split == "train":
        found.append(
            "This is the split that models are trained on: its figures flatter a model trained on it."
        )
    if not used:
        found.append(
            "The model does not list the films it was trained on: whether it has seen these is not known."
        )
    return found


def _thumbnails(manifest: Manifest, films: tuple[FilmRecord, ...]) -> Callable[[int], npt.NDArray[np.uint8]]:
    def picture(index: int) -> npt.NDArray[np.uint8]:
        film = manifest.read(films[index])
        return film.pixels if max(film.pixels.shape) <= _THUMBNAIL * 16 else squash(film, _THUMBNAIL)

    return picture


def _model_facts(bundle: Bundle) -> dict[str, str]:
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


def _data_facts(data: Sources, manifest: Manifest, read: ReadSplit) -> dict[str, str]:
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
