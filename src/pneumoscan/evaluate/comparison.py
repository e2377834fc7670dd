"""Compare two models, or the scores of two, on the same films: read both, match the films, write figures, tables and a page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.contents import find_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.classifier import model_name
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import Manifest, Split
from pneumoscan.errors import NothingUsableError, PneumoscanError, UsageError, require
from pneumoscan.evaluate.displays import RocDisplay
from pneumoscan.evaluate.drawing import (
    BLUE,
    PALE,
    VERMILION,
    figure_of,
    new_axes,
    save_figure,
    say_undefined,
    styled,
)
from pneumoscan.evaluate.films import Progress, ReadSplit, read_split
from pneumoscan.evaluate.paired import (
    FIRST,
    NONE,
    SECOND,
    UNKNOWN,
    Paired,
    RateDifference,
    compare_predictions,
    differing,
)
from pneumoscan.evaluate.report import readable, software
from pneumoscan.evaluate.run import LOOKS, last_look, looks_with, seen_before, thumbnails
from pneumoscan.evaluate.scores import Scores, matched, notes_on, read_scores
from pneumoscan.evaluate.thresholds import check_threshold
from pneumoscan.files import check_writable, make_folder, write_atomic, write_json, write_table
from pneumoscan.pages import picture_uri, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
TABLES = frozenset({".csv", ".tsv", ".txt"})
SHOWN = 12


@dataclass(frozen=True)
class Comparison:
    """Two models on the same films; pairs are of the first and the second.

    Attributes:
        sources: Where the scores of each are from.
        verdict: What the comparison shows, in sentences.
        cautions: Sentences to read before the figures.
        refused: Films that could not be read and are in none of the figures.
        y_true: int64 (n,).
        y_prob: float64 (2, n).
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
    scored, facts, notes = matched((sides[0], sides[1]), manifest, frozenset(unreadable), common=common)

    paths = sorted(facts)
    y_true = np.array([facts[path][0] for path in paths], dtype=np.int64)
    y_prob = np.array([[side[path] for path in paths] for side in scored], dtype=np.float64)
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


def _write(
    out: Path, comparison: Comparison, manifest: Manifest | None, data: Sources, split: str, command: str
) -> None:
    """Write page, graph and table; `comparison.json` last, so it marks a complete folder."""
    (out / "comparison.json").unlink(missing_ok=True)
    calls, paired = comparison.calls, comparison.paired
    right = calls == (comparison.y_true == 1)
    who = {(True, True): "both", (True, False): "a", (False, True): "b", (False, False): "neither"}
    rows = (
        (
            path,
            comparison.patient_ids[row],
            int(comparison.y_true[row]),
            *comparison.y_prob[:, row].tolist(),
            *(CLASS_NAMES[int(called)] for called in calls[:, row]),
            who[bool(right[0, row]), bool(right[1, row])],
        )
        for row, path in enumerate(comparison.paths)
    )
    head = ("path", "patient_id", "y_true", "probability_a", "probability_b", "label_a", "label_b", "right")
    write_table(out / "films.csv", head, rows)
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


@dataclass(frozen=True)
class PairedRocDisplay:
    """The ROC curves of two models on the same films, each with its name and threshold."""

    curves: tuple[tuple[str, RocDisplay], ...]

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw both curves and the diagonal of chance."""
        with styled():
            ax = ax if ax is not None else new_axes(5.6, 5.2)
            ax.set(
                xlabel="1 − specificity", ylabel="sensitivity (recall)", title="ROC curves on the same films"
            )
            if any(curve.roc_auc is None for _, curve in self.curves):
                say_undefined(ax, "All films have one label:\nthere is no curve to draw.")
                return figure_of(ax)
            ax.plot([0, 1], [0, 1], color=PALE, linewidth=1)
            for (name, curve), colour, dashes in zip(
                self.curves, (BLUE, VERMILION), ("-", "--"), strict=True
            ):
                label = f"{name if len(name) <= 40 else name[:39] + '…'} · {curve.roc_auc:.3f}"
                ax.plot(
                    curve.false_positive_rate, curve.true_positive_rate, dashes, color=colour, label=label
                )
                if curve.point is not None:
                    ax.plot(*curve.point, "o", color=colour, markersize=8)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), aspect="equal")
            ax.grid(visible=True)
            ax.legend(loc="lower right")
            return figure_of(ax)


def verdicts(paired: Paired, name_a: str, name_b: str) -> tuple[str, ...]:
    """Return what the comparison shows, in sentences; the first is about the area under ROC."""
    found = [_area_in_words(paired, name_a, name_b)]
    found += [_rate_in_words(each, name_a, name_b) for each in paired.rates[:2]]
    rates = {each.name: each.verdict for each in paired.rates}
    both = {rates["sensitivity"], rates["specificity"]}
    if both == {FIRST, SECOND}:
        found.append(
            "One model is better in sensitivity and the other in specificity: the thresholds differ, which says nothing about which ranks "
            "films better. The area does."
        )
    if paired.area_verdict == NONE and both == {NONE}:
        found.append(
            f"Over all: no detectable difference on these {paired.n:,} films of {paired.n_patients:,} patients."
        )
    return tuple(found)


def _area_in_words(paired: Paired, name_a: str, name_b: str) -> str:
    area = paired.area
    if area is None:
        return "The area under ROC cannot be compared: a class has fewer than two patients."
    numbers = (
        f"area under ROC {area.roc_auc_a:.4f} and {area.roc_auc_b:.4f}, difference {area.difference:+.4f} "
        f"(95% {area.ci95[0]:+.4f} to {area.ci95[1]:+.4f}, p {_p(area.p_value)})"
    )
    if paired.area_verdict == UNKNOWN:
        return f"The areas have no variance that a test could use: {area.roc_auc_a:.4f} and {area.roc_auc_b:.4f}."
    if paired.area_verdict == NONE:
        most = max(map(abs, area.ci95))
        return (
            f"No detectable difference in how {name_a} and {name_b} rank the films: {numbers}. "
            f"A difference up to {most:.4f} is not excluded."
        )
    better, other = (name_b, name_a) if paired.area_verdict == SECOND else (name_a, name_b)
    return f"{better} ranks the films better than {other}: {numbers}."


def _rate_in_words(rate: RateDifference, name_a: str, name_b: str) -> str:
    if rate.a is None or rate.b is None or rate.difference is None or rate.p_value is None:
        return f"The {rate.name} cannot be compared: there are no such films."
    interval = f"95% {rate.ci95[0]:+.4f} to {rate.ci95[1]:+.4f}, " if rate.ci95 else ""
    numbers = (
        f"{rate.a:.4f} and {rate.b:.4f}, difference {rate.difference:+.4f} ({interval}p {_p(rate.p_value)})"
    )
    if rate.verdict == NONE:
        return f"No detectable difference in {rate.name} at the threshold of each: {numbers}."
    better = name_b if rate.verdict == SECOND else name_a
    return f"{better} has the higher {rate.name} at the threshold of each: {numbers}."


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


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
