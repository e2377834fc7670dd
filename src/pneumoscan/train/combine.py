"""Combine several finished runs into one bundle: the mean of their networks, with heads for films of other sites."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscan.audit.shortcuts import rival_words, shortcuts_of
from pneumoscan.bundle.spec import probability_of
from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts.load import FilmSource, as_text, named_sources
from pneumoscan.errors import UsageError
from pneumoscan.evaluate.calibration import fit_temperature
from pneumoscan.evaluate.displays import RiskCoverageDisplay
from pneumoscan.evaluate.drawing import save_figure
from pneumoscan.evaluate.held_out import operating_points
from pneumoscan.files import make_folder, write_atomic, write_json
from pneumoscan.networks.combined import Combined, Member, fold_norms, round_to_half
from pneumoscan.networks.flagship import FlagshipConfig
from pneumoscan.networks.registry import build
from pneumoscan.networks.transfer import TransferConfig
from pneumoscan.system import keep_freed_memory
from pneumoscan.train.config import TrainingConfig, to_toml
from pneumoscan.train.export import (
    DEFAULT_OPERATING_POINT,
    Exported,
    read_held_out,
    write_model,
)
from pneumoscan.train.films import TrainingFilms
from pneumoscan.train.run import RunFolder, run_with_films, train_split
from pneumoscan.train.site_fitting import SiteAnswers, fit_heads, range_of_model

Note = Callable[[str], None]


@dataclass(frozen=True)
class _Run:
    folder: RunFolder
    config: TrainingConfig
    films: TrainingFilms


def combine(
    runs: Sequence[Path],
    sources: Sequence[str | Path],
    out: Path,
    *,
    name: str,
    populations: Mapping[str, str],
    stress: Path | None = None,
    note: Note = lambda _text: None,
    cache: Path | None = None,
) -> Exported:
    """Combine several runs into one model.

    Args:
        runs: Finished runs with one hold-out; the last one of a `transfer` network. Their films are those of the first source.
        sources: `SITE=PATH` each; the first is the home site, where the runs were trained.
        out: The folder: `bundle/`, `split.csv`, `config.toml`, `history.jsonl` and `manifest.json` as in a run folder; with
            several sites also `answers.csv` (the answers for films that the model was not fitted to, by site) and a graph.
        name: Name of the model.
        populations: Description of the patients, by site.
        stress: `metrics.json` of `evaluate OUT --split held-out --stress` with this model.
        note: Called with a description of each step.
        cache: Folder of the film cache.

    Raises:
        UsageError: The runs do not fit together, or `populations` names another site.
        PneumoscanError: See `train`, `load_manifest` and `write_model`.
    """
    keep_freed_memory()
    named = named_sources(sources)
    _check_sites(populations, named)
    (home, path), *elsewhere = named.items()
    read = [_Run(*run_with_films(run, as_text(path._replace(name="")), None, cache)) for run in runs]
    _check(read)
    config, films = read[0].config, read[0].films
    members = [_member(run) for run in read]
    network = Combined(members).eval()
    round_to_half(network)
    held = read_held_out(network, films, config)
    temperature = fit_temperature(held.logits.ravel(), held.y_true)
    point = operating_points(held, temperature)[DEFAULT_OPERATING_POINT]
    others = {site: _site_films(where, films, cache) for site, where in elsewhere}
    sites = None
    if others:
        at = range_of_model(point, point["unsure_band"], temperature)
        fitted = fit_heads(
            network, (home, films), others, config.augmentation, at, seed=config.loop.seed, progress=note
        )
        network = Combined(members, fitted.heads).eval()
        round_to_half(network)
        note("measuring what the labels can be guessed from without the lungs")
        sites = {
            site: {"whom": populations.get(site, site), **facts, **_shortcut(named[site], facts)}
            for site, facts in fitted.sites.items()
        }
    facts = _facts(read, sources=named, others=others)
    _write_folder(out, read, facts)
    if others:
        _write_answers(out, fitted.answers, temperature, point["threshold"])
    note("fitting the out-of-distribution detector, and exporting")
    return write_model(
        network,
        config,
        films,
        facts,
        out / "bundle",
        name=name,
        temperature=temperature,
        detector_films=_joined(films, list(others.values())),
        sites=sites,
        stress=stress,
    )


def _check_sites(populations: Mapping[str, str], named: Mapping[str, FilmSource]) -> None:
    unknown = sorted(set(populations) - set(named))
    if unknown:
        raise UsageError(
            f"there are no films of a site {unknown[0]!r}.",
            f"Write SITE=WORDS with one of the sites {', '.join(named)}.",
        )


def _check(runs: Sequence[_Run]) -> None:
    if len(runs) < 2 or not isinstance(runs[-1].config.model, TransferConfig):
        raise UsageError(
            "these runs cannot be combined.", "Name two or more; the last one of a transfer network."
        )
    first = runs[0]
    for run in runs[1:]:
        same = np.array_equal(run.films.val, first.films.val) and np.array_equal(
            run.films.images, first.films.images
        )
        if not same:
            raise UsageError(
                f"{run.folder.path} and {first.folder.path} have other films, sizes or hold-outs.",
                "Train them with the same films, data.size, data.val_fraction and data.split_seed.",
            )


def _member(run: _Run) -> Member:
    """Return the network of a run. A flagship does not read the mirror image, because the mean of the networks gains as much."""
    model = run.config.model
    if isinstance(model, FlagshipConfig):
        model = model.model_copy(update={"mirrored": False})
    network = build(model, run.config.data.size)
    network.load_state_dict(run.folder.read_weights())
    network.eval()
    fold_norms(network)
    held = read_held_out(network, run.films, run.config)
    return Member(network, run.films.preprocessing, fit_temperature(held.logits.ravel(), held.y_true))


def _site_films(source: FilmSource, home: TrainingFilms, cache: Path | None) -> TrainingFilms:
    """Return all train films of another site as films to fit to."""
    manifest = train_split(as_text(source._replace(name="")))
    table = open_cache(manifest, size=home.preprocessing.size, folder=cache)
    every = np.arange(len(table.index))
    return TrainingFilms(
        images=table.images,
        labels=manifest.labels[table.index].astype(np.float32),
        train=every,
        val=every[:0],
        preprocessing=home.preprocessing,
        patient_ids=manifest.patient_ids[table.index],
        sha256=tuple(sorted(set(table.content_sha256.values()))),
    )


def _shortcut(source: FilmSource, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return `shortcut`, a sentence, if the films of a site do not show that the model works there; else nothing."""
    area = float(facts["roc_auc"])
    rival = shortcuts_of(train_split(as_text(source._replace(name="")))).rival(area)
    return {} if rival is None else {"shortcut": rival_words(rival, area)}


def _joined(home: TrainingFilms, others: Sequence[TrainingFilms]) -> TrainingFilms:
    """Return films of all sites to fit the detector to; a small site is repeated until it has a quarter of the home site's."""
    images, rows, start = [np.asarray(home.images)], [home.train], len(home.images)
    for site in others:
        images.append(np.asarray(site.images))
        times = max(1, round(len(home.train) / 4 / max(1, len(site.train))))
        rows.append(np.tile(site.train + start, times))
        start += len(site.images)
    joined = np.concatenate(images)
    labels = np.concatenate([home.labels, *(site.labels for site in others)])
    return replace(home, images=joined, labels=labels, train=np.concatenate(rows), patient_ids=None)


def _facts(
    runs: Sequence[_Run], sources: Mapping[str, FilmSource], others: Mapping[str, TrainingFilms]
) -> dict[str, Any]:
    first = runs[0].folder.read_manifest()
    hashes = [*first.get("film_sha256", []), *(digest for site in others.values() for digest in site.sha256)]
    members = [
        {
            "preset": run.config.preset,
            "seed": run.config.loop.seed,
            "epochs": run.folder.read_manifest().get("result", {}).get("epochs"),
            "commit": run.folder.read_manifest().get("commit"),
        }
        for run in runs
    ]
    extra = {
        site: {"films": len(films.labels), "n_positive": int(films.labels.sum())}
        for site, films in others.items()
    }
    return {
        **first,
        "film_sha256": sorted(set(hashes)),
        "members": members,
        "sites": list(sources),
        "fitted_to": extra,
    }


def _write_folder(out: Path, runs: Sequence[_Run], facts: dict[str, Any]) -> None:
    make_folder(out)
    write_atomic(out / "split.csv", runs[0].folder.split.read_bytes())
    write_atomic(out / "config.toml", to_toml(runs[0].config))
    write_atomic(out / "history.jsonl", "".join(map(_history, runs)))
    write_json(out / "manifest.json", facts)


def _history(run: _Run) -> str:
    """Return the lines of `history.jsonl` of a run, each with the preset and seed of the run."""
    member = {"member": run.config.preset, "seed": run.config.loop.seed}
    lines = (run.folder.path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return "".join(json.dumps({**member, **json.loads(line)}) + "\n" for line in lines)


def _write_answers(
    out: Path, answers: Mapping[str, SiteAnswers], temperature: float, threshold: float
) -> None:
    """Write `answers.csv`, a row for each film, and the graph of error against the share of films answered."""
    rows = [
        (site, label, probability, recognised)
        for site, own in answers.items()
        for label, probability, recognised in zip(
            own.y_true.tolist(),
            probability_of(own.logits, temperature).tolist(),
            own.recognised.astype(int).tolist(),
            strict=True,
        )
    ]
    sites, y_true, y_prob, _ = zip(*rows, strict=True)
    lines = [",".join(map(str, row)) for row in [("site", "y_true", "probability", "recognised"), *rows]]
    write_atomic(out / "answers.csv", "\n".join([*lines, ""]).encode())
    display = RiskCoverageDisplay.from_predictions(y_true, y_prob, threshold=threshold, sites=sites)
    save_figure(display.plot(), out / "risk_coverage")
