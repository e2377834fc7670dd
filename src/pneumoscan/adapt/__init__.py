"""Evaluate a model on films of another hospital, and refit its temperature and thresholds to them."""

from pathlib import Path

import numpy as np

from pneumoscan.adapt.adaptation import Adaptation, needs_onnx, write_adapted
from pneumoscan.adapt.fit import RULES, CrossValidated, cross_validate, fit, patients_of_each
from pneumoscan.adapt.hospital_films import FEW_FILMS, HospitalFilms, Progress, read_films
from pneumoscan.adapt.verdict import (
    Predictions,
    area,
    counted_answers,
    differences,
    figures_of,
    resample,
    verdict_on,
)
from pneumoscan.audit.shortcuts import Shortcuts, shortcuts_of
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.bundle.spec import probability_of
from pneumoscan.classifier import NEAR, abstention_of
from pneumoscan.data.layouts import load_manifest
from pneumoscan.errors import NotWritableError, UsageError, require
from pneumoscan.evaluate.arrays import Floats

__all__ = ["Adaptation", "adapt"]


def adapt(
    model: Path,
    data: Path,
    *,
    out: Path,
    operating_point: str | None = None,
    folds: int = 5,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Adaptation:
    """Evaluate a model on films of a hospital, refit it to them, and write a new bundle if it may be used.

    Args:
        model: A bundle folder, or a run folder with `bundle/` in it.
        data: Labelled films for `data.layouts.load_manifest`; all splits are used.
        out: Folder of the new bundle, which must not exist. It is not written if the advice is not to use the model.
        operating_point: Operating point that is evaluated and becomes the default; by default that of the model.
        folds: Folds of the cross-validation, 2 to 20; fewer if a class has fewer patients.
        seed: Seed of the folds and of the bootstrap.
        workers: Threads that read films; by default one more than cores, at most 8.
        progress: Called with (films done, all films).

    Returns:
        The result.

    Raises:
        UsageError: The model does not exist, or `folds` or `workers` is outside its range.
        ConfigError: The model has no operating point with this name.
        LayoutError: The data have no known layout.
        NothingUsableError: Too few films are left.
        BundleError: The model is damaged, or gives wrong outputs after the refit.
        NotWritableError, DiskFullError: `out` exists, or cannot be written.
        MissingDependencyError: `onnx` or scikit-learn is not installed.
    """
    if not 2 <= folds <= 20:
        raise UsageError(f"folds is {folds}.", "It must be from 2 to 20.")
    needs_onnx()
    require("sklearn")
    check_free(out)
    bundle = load_bundle(model)
    point = operating_point or bundle.spec.default_operating_point
    threshold = bundle.spec.threshold(point)
    if point not in RULES:
        raise UsageError(
            f"there is no rule for the operating point {point!r}.",
            f"Choose one of {', '.join(RULES)}.",
        )
    manifest = load_manifest(data)
    films = read_films(bundle, manifest, workers=workers, progress=progress)
    shortcuts = shortcuts_of(manifest.take(films.rows), workers=workers)
    found = _evaluated(bundle, films, shortcuts, point, threshold, folds, seed, synthetic=manifest.synthetic)
    if found.verdict.is_usable:
        write_adapted(bundle, found, out)
    return found


def check_free(out: Path) -> None:
    """Raise NotWritableError if `out` is anything but an empty folder; no bundle is overwritten."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise NotWritableError(f"{out} already exists.", "Choose a new folder.")


def _evaluated(
    bundle: Bundle,
    films: HospitalFilms,
    shortcuts: Shortcuts,
    point: str,
    threshold: float,
    folds: int,
    seed: int,
    *,
    synthetic: bool,
) -> Adaptation:
    y_true, patients = films.y_true, films.patients
    few = min(folds, *patients_of_each(y_true, patients))
    crossed = cross_validate(films.logits, y_true, patients, folds=few, seed=seed)
    weights = resample(y_true, patients, seed=seed)
    before = probability_of(films.logits, bundle.spec.temperature)
    own, new = _predictions(bundle, films, crossed, before, point, threshold)
    as_it_is, adapted = (figures_of(y_true, patients, answers, weights) for answers in (own, new))
    gain, roc = differences(y_true, new, own, weights), area(y_true, patients, films.logits, weights)
    return Adaptation(
        films=films,
        operating_point=point,
        base={"name": bundle.spec.name, "sha256": bundle.spec.files["model.onnx"]},
        fitted=fit(films.logits, y_true),
        threshold_before=threshold,
        temperature_before=bundle.spec.temperature,
        cross_validated=crossed,
        area=roc,
        as_it_is=as_it_is,
        adapted=adapted,
        gain=gain,
        verdict=verdict_on(roc, as_it_is, adapted, gain, point, shortcuts),
        shortcuts=shortcuts,
        cautions=_cautions(bundle, films, few, folds, synthetic=synthetic),
    )


def _predictions(
    bundle: Bundle,
    films: HospitalFilms,
    crossed: CrossValidated,
    before: Floats,
    point: str,
    threshold: float,
) -> tuple[Predictions, Predictions]:
    """Return the predictions of the model as it is and refitted, with the films that `predict` would not answer.

    They are those unlike the training films, those with unusual lungs, and those in the band around the threshold. The band of the refitted model is as
    wide in logits as before.
    """
    distances = [None] * films.n if films.distances is None else films.distances.tolist()
    abstained = [
        abstention_of(bundle.spec, probability, distance, threshold)
        for probability, distance in zip(before.tolist(), distances, strict=True)
    ]
    as_it_is = np.array([not each.label for each in abstained]) & ~films.poor_lungs
    far = films.poor_lungs | [bool(each.label) and each.warnings != (NEAR,) for each in abstained]
    own = counted_answers(films.y_true, (before >= threshold)[None], as_it_is[None], before[None])
    cuts, band = crossed.cuts[point], bundle.spec.thresholds[point].get("unsure_band")
    half_width = float(band["half_width"]) * bundle.spec.temperature if band else -1.0
    answered = ~far & (np.abs(films.logits - cuts) > half_width)
    return own, counted_answers(films.y_true, films.logits >= cuts, answered, crossed.y_prob)


def _cautions(
    bundle: Bundle, films: HospitalFilms, folds: int, asked: int, *, synthetic: bool
) -> tuple[str, ...]:
    found = list(films.notes)
    if synthetic:
        found.insert(0, "These films are synthetic: the advice says nothing about patients.")
    elif bundle.spec.training.get("synthetic"):
        found.insert(0, "The model was trained on synthetic films. It says nothing about real ones.")
    if films.n < FEW_FILMS:
        found.append(
            f"Only {films.n} films: the intervals are wide. Label {FEW_FILMS} or more; 100 to 200 are better."
        )
    if folds < asked:
        found.append(f"{folds} folds instead of {asked}, because a class has no more patients.")
    found += _out_of_distribution(bundle, films)
    share = films.n_positive / films.n
    found.append(
        f"The re-fitted probability is valid at a prevalence of {share:.0%}, as in these films. At a lower prevalence it "
        "is too high."
    )
    return tuple(found)


def _out_of_distribution(bundle: Bundle, films: HospitalFilms) -> list[str]:
    """Return a caution about films that differ from the training films."""
    if bundle.spec.guard is None or films.distances is None:
        return []
    far = int((films.distances >= bundle.spec.guard["unusual"]).sum())
    if not far:
        return []
    return [
        f"{far:,} of {films.n:,} films differ from those in training: `predict` does not answer them (UNSURE or "
        "NOT_A_CHEST_FILM), and here they count as wrong."
    ]
