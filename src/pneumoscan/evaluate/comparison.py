"""Compare two models, or the scores of two, on the same films: read both, match the films, write figures, tables and a page."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.contents import find_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.classifier import model_name
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import Manifest, Split
from pneumoscan.errors import LayoutError, NothingUsableError, PneumoscanError, UsageError, require
from pneumoscan.evaluate.displays import RocDisplay
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.films import Progress, ReadSplit, read_split
from pneumoscan.evaluate.page import software
from pneumoscan.evaluate.paired import Paired, PairedRocDisplay, compare_predictions, differing, verdicts
from pneumoscan.evaluate.report import readable
from pneumoscan.evaluate.run import LOOKS, last_look, looks_with, seen_before, thumbnails
from pneumoscan.evaluate.scores import Scores, notes_on, read_scores
from pneumoscan.evaluate.thresholds import check_threshold
from pneumoscan.files import check_writable, make_folder, write_atomic, write_json
from pneumoscan.pages import picture_uri, render

SCHEMA_VERSION = 1
TABLES = frozenset({".csv", ".tsv", ".txt"})
SHOWN = 12


@dataclass(frozen=True)
class Comparison:
    """Two models on the same films.

    Attributes:
        names: Names of the first and the second model.
        sources: Where the scores of each are from.
        threshold_sources: Origin of the threshold of each.
        paired: The figures.
        verdict: What the comparison shows, in sentences.
        cautions: Sentences to read before the figures.
        refused: Films that could not be read and are in none of the figures.
        paths: n films.
        patient_ids: n patients.
        y_true: int64 (n,).
        y_prob: float64 (2, n): the first and the second model.
    """

    names: tuple[str, str]
    sources: tuple[str, str]
    threshold_sources: tuple[str, str]
    paired: Paired
    verdict: tuple[str, ...]
    cautions: tuple[str, ...]
    refused: tuple[str, ...]
    paths: tuple[str, ...]
    patient_ids: tuple[str, ...]
    y_true: npt.NDArray[np.int64]
    y_prob: npt.NDArray[np.float64]

    @property
    def calls(self) -> npt.NDArray[np.bool_]:
        """Whether each model labels each film PNEUMONIA: bool (2, n)."""
        cuts = np.array([[self.paired.threshold_a], [self.paired.threshold_b]])
        return self.y_prob >= cuts

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON types."""
        sides = zip(("a", "b"), self.names, self.sources, self.threshold_sources, strict=True)
        return {
            "schema_version": SCHEMA_VERSION,
            **{
                side: {"name": readable(name), "source": readable(source), "threshold_source": told}
                for side, name, source, told in sides
            },
            **self.paired.to_json(),
            "verdict": list(map(readable, self.verdict)),
            "cautions": list(map(readable, self.cautions)),
            "n_refused": len(self.refused),
            "methods": {
                "area": "DeLong; variance by patient after Obuchowski; difference is b minus a",
                "p_value of rates": "McNemar's exact test, models exchanged by patient",
                "ci95 of rates and net reclassification": "bootstrap percentiles, patients drawn with all their films",
            },
        }


def compare(
    a: Path,
    b: Path,
    data: Sources = (),
    *,
    split: str = "test",
    out: Path,
    thresholds: tuple[float | None, float | None] = (None, None),
    score: str = "",
    logits: bool = False,
    common: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Comparison:
    """Compare two models on the same films and write the folder of results.

    Args:
        a: A bundle, a run folder with a bundle, the name of a model in the package, or a CSV file of scores (`scores.read_scores`).
        b: The second one likewise.
        data: Sources of the films for `data.layouts.load_sites`; needed for models, and for scores without `y_true`.
        split: Which films of `data`: `train`, `val`, `test` or `all`.
        out: Folder of the results, created if absent.
        thresholds: Threshold of each in [0, 1]; by default the model's own, that of the file, or 0.5.
        score: Column of the scores in files; by default it is found.
        logits: Convert scores outside of [0, 1] by the sigmoid.
        common: Compare the films that both have a score for, rather than end with an error where the sets differ.
        workers: Threads that read films.
        progress: Called with films done and films in all.
        command: The command line, for the report.

    Raises:
        UsageError: Films are missing on a side and `common` is not given, or there are no labels.
        LayoutError, BundleError: Scores, films or a model cannot be read.
        NothingUsableError: The two have no film in common.
        DiskFullError, NotWritableError: The results cannot be written.
    """
    require("matplotlib")
    check_writable(out)
    manifest = _films_of(data, split) if data else None
    reads: list[tuple[ReadSplit, Any]] = []
    sides, unreadable = [], set[str]()
    for path, cut in zip((a, b), thresholds, strict=True):
        if path.suffix.lower() in TABLES and (path.is_file() or not path.exists()):
            side = read_scores(path, column=score, logits=logits)
        else:
            find_bundle(path)
            if manifest is None:
                raise UsageError(f"{path} is a model, which needs films.", "Name them with --data.")
            bundle = load_bundle(path)
            read = read_split(bundle, manifest, threshold=cut, workers=workers, progress=progress)
            reads.append((read, bundle))
            unreadable |= {film for film, _, _ in read.refused}
            point = bundle.spec.thresholds[bundle.spec.default_operating_point]
            side = Scores(
                name=model_name(bundle),
                source=str(bundle.path),
                probability={
                    film.path: float(prob) for film, prob in zip(read.films, read.y_prob, strict=True)
                },
                threshold=bundle.spec.threshold(),
                threshold_source=f"{bundle.spec.default_operating_point}: {point['source']}",
            )
        if cut is not None:
            side = replace(side, threshold=check_threshold(cut), threshold_source="given by hand")
        sides.append(side)
    matched, facts, notes = _matched((sides[0], sides[1]), manifest, frozenset(unreadable), common=common)

    paths = sorted(facts)
    y_true = np.array([facts[path][0] for path in paths], dtype=np.int64)
    y_prob = np.array([[side[path] for path in paths] for side in matched], dtype=np.float64)
    patients = tuple(facts[path][1] for path in paths)
    paired = compare_predictions(
        y_true,
        y_prob[0],
        y_prob[1],
        threshold_a=sides[0].threshold,
        threshold_b=sides[1].threshold,
        patient_ids=patients,
    )
    names = (sides[0].name, sides[1].name)
    if names[0] == names[1]:
        names = (f"{names[0]} (first)", f"{names[1]} (second)")
    found = list(notes)
    found += notes_on(y_prob)
    make_folder(out)
    if manifest is not None and split == "test" and not manifest.synthetic and reads:
        looks: list[dict[str, Any]] = []
        for read, bundle in reads:
            looks = looks_with(out, bundle, read)
            write_json(out / LOOKS, looks)
        found.insert(0, last_look(looks))
    for read, bundle in reads:
        found += [f"{bundle.spec.name}: {text}" for text in seen_before(bundle, read, split)]
    comparison = Comparison(
        names=names,
        sources=(sides[0].source, sides[1].source),
        threshold_sources=(sides[0].threshold_source, sides[1].threshold_source),
        paired=paired,
        verdict=verdicts(paired, *names),
        cautions=tuple(dict.fromkeys(found)),
        refused=tuple(sorted(unreadable)),
        paths=tuple(paths),
        patient_ids=patients,
        y_true=y_true,
        y_prob=y_prob,
    )
    _write(out, comparison, manifest, data, split, command)
    return comparison


def _films_of(data: Sources, split: str) -> Manifest:
    manifest = load_sites(data)
    known: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
    if split == "all":
        return manifest
    if split not in known:
        raise UsageError(f"there is no split {split!r}.", f"Use one of {', '.join((*known, 'all'))}.")
    part = manifest.of_split(known[split])
    if not part.films:
        there = ", ".join(sorted({film.split for film in manifest.films}))
        raise NothingUsableError(
            f"{as_words(data)} has no films of the split {split}.",
            f"It has {there}; --split all takes every film.",
        )
    return part


_Facts = dict[str, tuple[int, str]]


def _matched(
    sides: tuple[Scores, Scores], manifest: Manifest | None, unreadable: frozenset[str], *, common: bool
) -> tuple[list[dict[str, float]], _Facts, list[str]]:
    """Return the scores of both by film, label and patient of each film that both have, and what was done to match them."""
    notes = [note for side in sides for note in side.notes]
    by_number = any(side.by_number for side in sides)
    if manifest is not None:
        films = {film.path: (film.label, film.patient_id) for film in manifest.films}
        found = [_by_film(side, list(films), by_number, notes) for side in sides]
    else:
        found = [{_key(path, by_number): value for path, value in side.probability.items()} for side in sides]
        films = _told(sides, by_number)
    wanted = set(films) - unreadable
    if unreadable:
        some = "1 film" if len(unreadable) == 1 else f"{len(unreadable)} films"
        notes.append(f"{some} could not be read and left out, such as {min(unreadable)}.")
    both = wanted & found[0].keys() & found[1].keys()
    if not both:
        examples = " and ".join(f"{next(iter(side.probability))!r} in {side.source}" for side in sides)
        of_data = f", and {next(iter(films))!r} in the films" if manifest is not None and films else ""
        raise NothingUsableError(
            f"the two have no film in common: {examples}{of_data}.",
            "Both must name the same films by the same paths.",
        )
    for side, there in zip(sides, found, strict=True):
        gone = sorted(wanted - there.keys())
        if gone:
            some = "1 film has" if len(gone) == 1 else f"{len(gone)} of {len(wanted)} films have"
            text = f"{some} no score in {side.source}, such as {gone[0]}"
            if not common:
                raise UsageError(
                    f"{text}.", "Give the scores of the same films, or --common to leave them out."
                )
            notes.append(f"{text}; left out.")
    return found, {path: films[path] for path in both}, notes


def _by_film(side: Scores, films: list[str], by_number: bool, notes: list[str]) -> dict[str, float]:
    """Return the scores by the path of the film, whose last parts suffice where the file has a longer path."""
    known = {_key(film, by_number): film for film in films}
    found: dict[str, float] = {}
    shortened = unknown = 0
    for path, value in side.probability.items():
        key = _key(path, by_number)
        while key not in known and "/" in key and not key.startswith("#"):
            key = key.partition("/")[2]
        if key not in known:
            unknown += 1
            continue
        if known[key] in found:
            raise LayoutError(
                f"{side.source} names the film {known[key]} twice, such as by {path!r}.",
                "List every film once.",
            )
        shortened += key != path and not by_number
        found[known[key]] = value
    if shortened:
        notes.append(f"The films of {side.source} are found by the last parts of their paths.")
    if unknown and found:
        some = "1 film" if unknown == 1 else f"{unknown} films"
        notes.append(
            f"{some} of {side.source} that {'is' if unknown == 1 else 'are'} not among the films left out."
        )
    return found


def _key(path: str, by_number: bool) -> str:
    """Return what identifies a film: its path, or its number in an `.npz` file, `#test/12`."""
    return "#" + path.rpartition("#")[2] if by_number else path


def _told(sides: tuple[Scores, Scores], by_number: bool) -> _Facts:
    """Return label and patient of each film from the files themselves."""
    facts: _Facts = {}
    for side in sides:
        for path, label in side.y_true.items():
            key = _key(path, by_number)
            if key in facts and facts[key][0] != label:
                raise UsageError(
                    f"{path} is {CLASS_NAMES[facts[key][0]]} in {sides[0].source} and {CLASS_NAMES[label]} in {side.source}.",
                    "Give the same labels, or the labelled films with --data.",
                )
            facts.setdefault(key, (label, side.patient_ids.get(path, path)))
    if not facts:
        raise UsageError(
            f"neither {sides[0].source} nor {sides[1].source} has the true labels (y_true).",
            "Give the labelled films with --data: a folder, a table or an .npz file.",
        )
    scored = {_key(path, by_number) for side in sides for path in (*side.probability, *side.missing)}
    bare = sorted(scored - facts.keys())
    if bare:
        raise UsageError(
            f"{len(bare)} films have no true label, such as {bare[0]}.",
            "Give the labelled films with --data.",
        )
    return facts


def _write(
    out: Path, comparison: Comparison, manifest: Manifest | None, data: Sources, split: str, command: str
) -> None:
    """Write page, graph and table; `comparison.json` last, so it marks a complete folder."""
    (out / "comparison.json").unlink(missing_ok=True)
    calls, paired = comparison.calls, comparison.paired
    right = calls == (comparison.y_true == 1)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("path", "patient_id", "y_true", "probability_a", "probability_b", "label_a", "label_b", "right")
    )
    for row, path in enumerate(comparison.paths):
        who = {(True, True): "both", (True, False): "a", (False, True): "b", (False, False): "neither"}
        labels = [CLASS_NAMES[int(called)] for called in calls[:, row]]
        scores = comparison.y_prob[:, row].tolist()
        told = who[bool(right[0, row]), bool(right[1, row])]
        writer.writerow(
            (path, comparison.patient_ids[row], int(comparison.y_true[row]), *scores, *labels, told)
        )
    write_atomic(out / "films.csv", readable(text.getvalue()))
    curves = [
        RocDisplay.from_predictions(comparison.y_true, prob, threshold=cut)
        for prob, cut in zip(comparison.y_prob, (paired.threshold_a, paired.threshold_b), strict=True)
    ]
    graph = save_figure(
        PairedRocDisplay(tuple(zip(comparison.names, curves, strict=True))).plot(), out / "roc"
    )
    shown = differing(
        calls.T.tolist(), comparison.y_true, np.abs(comparison.y_prob[1] - comparison.y_prob[0]), SHOWN
    )
    page = render(
        "pneumoscan.evaluate",
        "compare.html",
        comparison=comparison,
        graphs={"roc": graph},
        films=[_film(comparison, row, manifest, right) for row in shown],
        differ=int((calls[0] != calls[1]).sum()),
        provenance={
            "first": comparison.sources[0],
            "its threshold": f"{paired.threshold_a:.4g}, {comparison.threshold_sources[0]}",
            "second": comparison.sources[1],
            "its threshold ": f"{paired.threshold_b:.4g}, {comparison.threshold_sources[1]}",
            "films": f"{as_words(data)}, split {split}" if manifest is not None else "those of the files",
            "bootstrap": f"{paired.n_resamples} resamples of {paired.n_patients} patients, seed {paired.seed}",
            "software": software(),
            "command": command,
        },
    )
    write_atomic(out / "report.html", page)
    write_json(out / "comparison.json", comparison.to_json())


def _film(
    comparison: Comparison, row: int, manifest: Manifest | None, right: npt.NDArray[np.bool_]
) -> Mapping[str, Any]:
    facts = {
        "path": comparison.paths[row],
        "label": CLASS_NAMES[int(comparison.y_true[row])],
        "a": float(comparison.y_prob[0, row]),
        "b": float(comparison.y_prob[1, row]),
        "right": comparison.names[0 if right[0, row] else 1],
        "image": "",
        "missing": "no picture: give the films with --data",
    }
    films = () if manifest is None else manifest.films
    record = next((film for film in films if film.path == comparison.paths[row]), None)
    if manifest is None or record is None:
        return facts
    try:
        return {
            **facts,
            "image": picture_uri(thumbnails(manifest, (record,))(0), longest=240, quality=82),
        }
    except (PneumoscanError, OSError):
        return {**facts, "missing": "the film cannot be read"}
