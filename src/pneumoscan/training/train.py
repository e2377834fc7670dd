"""Train a network on a set of films and write the run folder: data, cache, hold-out, loop, weights, graph, bundle."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscan.data.cache import FilmCache, open_cache
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.splits import HoldOut, hold_out, read_split_csv, write_split_csv
from pneumoscan.errors import DataDamagedError, FilmError, NothingUsableError
from pneumoscan.training.config import TrainingConfig, read_toml_config
from pneumoscan.training.distributed import Peers, joined_peers
from pneumoscan.training.engine import Fit, fit, resolve
from pneumoscan.training.films import TrainingFilms
from pneumoscan.training.observer import Observer, Silence
from pneumoscan.training.run import RunFolder, opened_run, origin
from pneumoscan.training.state import EpochRecord

if TYPE_CHECKING:
    from pneumoscan.inference.bundle import Bundle
    from pneumoscan.training.export import Exported

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, its history, the kept epoch, and whether this process writes the files."""

    run: RunFolder
    history: list[EpochRecord]
    kept_epoch: int
    stopped_early: bool
    writes: bool = True


def train(
    config: TrainingConfig | None,
    data: Sources,
    out: Path,
    *,
    resume: bool = False,
    observer: Observer | None = None,
    decoding: Progress | None = None,
    cache: Path | None = None,
) -> Trained:
    """Train a network on the split `train` of `data` and write a run folder.

    Args:
        config: The configuration; None uses that of the run in `out`.
        data: One or several sources of films for `load_sites`.
        out: The run folder.
        resume: Continue the run in the folder; a finished one does not change.
        observer: Receives the progress.
        decoding: Called with (done, total) while films are decoded.
        cache: Folder of the film cache.

    Raises:
        PneumoscanError: See `load_sites`, `open_cache`, `opened_run` and `fit`.
    """
    # Checked first, so that a mistyped path does not create a run folder.
    manifest = train_split(data)
    with joined_peers() as peers:
        wanted = None if config is None else resolve(config)
        watcher = observer if observer is not None and peers.first else Silence()
        for note in manifest.notes:
            watcher.note(f"films: {note}")
        opened = (
            opened_run(out, wanted, resume=resume) if peers.first else nullcontext((RunFolder(out), wanted))
        )
        with opened as (run, given):
            peers.wait()
            settled = given or read_toml_config(run.config)
            manifest = _without_left_out(manifest, settled)
            films, table = _films(settled, manifest, run, peers, decoding, cache)
            if peers.first:
                _record_origin(run, settled, table, manifest, films, watcher)
            finished = fit(
                settled, films, folder=run.checkpoints, peers=peers, observer=_Historian(run, watcher, peers)
            )
            if peers.first:
                _finish(run, settled, finished)
            return Trained(run, finished.history, finished.kept_epoch, finished.stopped_early, peers.first)


def export_run(
    path: Path,
    data: Sources,
    out: Path | None = None,
    *,
    stress: Path | None = None,
    decoding: Progress | None = None,
    cache: Path | None = None,
) -> "Exported":
    """Export the finished run in `path` whose films are in `data`; raises as `export.export` and `train` say."""
    from pneumoscan.training.export import export

    return export(*run_with_films(path, data, decoding, cache), out, stress=stress)


def record_run(
    path: Path,
    data: Sources,
    out: Path | None = None,
    *,
    stress: Path | None = None,
    decoding: Progress | None = None,
    cache: Path | None = None,
) -> "Bundle":
    """Write the records of the bundle of the run in `path`; raises as `export.export_records` and `train` say."""
    from pneumoscan.training.export import export_records

    return export_records(*run_with_films(path, data, decoding, cache), out, stress=stress)


def run_with_films(
    path: Path, data: Sources, decoding: Progress | None, cache: Path | None
) -> tuple[RunFolder, TrainingConfig, TrainingFilms]:
    """Return a run with its config and its films; raises as `train` says."""
    run = RunFolder(path)
    config = read_toml_config(run.config)
    films, _ = _films(config, _without_left_out(train_split(data), config), run, Peers(), decoding, cache)
    return run, config, films


def report_val(path: Path, data: Sources) -> tuple[int, int]:
    """Classify the split `val` with the bundle of the run in `path`, and record the correct predictions in its manifest.

    In the Kaggle folder this split has 16 films, so one film is 6.25 points. It is reported and not used for any choice.

    Returns:
        (correct predictions, films read); (0, 0) if the split does not exist.
    """
    from pneumoscan.inference.bundle import load_bundle
    from pneumoscan.inference.rows import probability_of_film

    bundle, right, count = load_bundle(path), 0, 0
    manifest = load_sites(data).of_split("val")
    for film in manifest.films:
        with suppress(FilmError):
            called = probability_of_film(bundle, manifest.read(film)) >= bundle.spec.threshold()
            right, count = right + (called == film.label), count + 1
    if count:
        RunFolder(path).write_manifest({"val_split": {"right": right, "films": count}})
    return right, count


def training_films(
    config: TrainingConfig, manifest: Manifest, table: FilmCache, hold: HoldOut
) -> TrainingFilms:
    """Combine a manifest, its cache and a hold-out; films that cannot be read are in neither part."""
    row_of = {int(place): row for row, place in enumerate(table.index)}

    def rows(places: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([row_of[place] for place in places if place in row_of], dtype=np.int64)

    return TrainingFilms(
        images=table.images,
        labels=manifest.labels[table.index].astype(np.float32),
        train=rows(hold.train),
        val=rows(hold.val),
        preprocessing=config.data.preprocessing(),
        patient_ids=manifest.patient_ids[table.index],
        sites=manifest.sites[table.index],
    )


def train_split(data: Sources) -> Manifest:
    """Return the films of the split `train`. Raises NothingUsableError if there are none."""
    manifest = load_sites(data).of_split("train")
    if not len(manifest):
        raise NothingUsableError(
            f"{as_words(data)} has no films of the split train.",
            "Put them in DIR/train/NORMAL and …/PNEUMONIA.",
        )
    return manifest


def _without_left_out(manifest: Manifest, config: TrainingConfig) -> Manifest:
    """Return the films of the sites that `sampling.films` does not leave out."""
    left_out = config.sampling.left_out
    config.sampling.check_left_out(manifest.site_names)
    return manifest.take(place for place, film in enumerate(manifest.films) if film.site not in left_out)


def _films(
    config: TrainingConfig,
    manifest: Manifest,
    run: RunFolder,
    peers: Peers,
    decoding: Progress | None,
    cache: Path | None,
) -> tuple[TrainingFilms, FilmCache]:
    table = open_cache(manifest, size=config.data.size, folder=cache, progress=decoding)
    known = run.read_manifest().get("data_sha256")
    if known is not None and known != table.data_sha256:
        raise DataDamagedError(
            f"the films in {manifest.root} are not those of the run in {run.path}.",
            "Put the same films there.",
        )
    if peers.first and not run.split.exists():
        hold = hold_out(
            manifest,
            fraction=config.data.val_fraction,
            seed=config.data.split_seed,
            duplicates=table.content_sha256,
        )
        write_split_csv(run.split, manifest, hold)
    peers.wait()
    return training_films(config, manifest, table, read_split_csv(run.split, manifest)), table


def _record_origin(
    run: RunFolder,
    config: TrainingConfig,
    table: FilmCache,
    manifest: Manifest,
    films: TrainingFilms,
    watcher: Observer,
) -> None:
    for film in table.refused:
        watcher.note(f"left out {film.path}: {film.message}")
    if run.manifest.exists():
        return
    patients = manifest.patient_ids[table.index]
    facts: dict[str, Any] = {
        **origin(config),
        "data_sha256": table.data_sha256,
        "synthetic": manifest.synthetic,
        "films": {
            "train": len(films.train), "val": len(films.val), "refused": len(table.refused),
            "patients": len(set(patients.tolist())),
            "positive": int(films.labels.sum()),
        },
        "film_sha256": sorted(set(table.content_sha256.values())),
    }  # fmt: skip
    run.write_manifest(facts)


def _finish(run: RunFolder, config: TrainingConfig, finished: Fit) -> None:
    run.write_history(finished.history)
    draw_convergence(run, finished.history, finished.kept_epoch)
    run.write_weights(finished, config)
    run.write_manifest(
        {
            "result": {
                "epochs": len(finished.history),
                "kept_epoch": finished.kept_epoch,
                "stopped_early": finished.stopped_early,
                "kept": finished.history[finished.kept_epoch - 1],
                "seconds": round(sum(record["seconds"] for record in finished.history), 1),
            }
        }
    )


def draw_convergence(run: RunFolder, history: list[EpochRecord], kept_epoch: int) -> None:
    """Write `convergence.svg` and `.png` of a history."""
    from pneumoscan.evaluation.convergence import ConvergenceDisplay
    from pneumoscan.evaluation.figures import save_figure

    display = ConvergenceDisplay.from_history(history, best_epoch=kept_epoch)
    save_figure(display.plot(), run.path / "convergence")


class _Historian:
    """Writes the history after each epoch and informs the observer."""

    def __init__(self, run: RunFolder, observer: Observer, peers: Peers) -> None:
        self._run, self._observer, self._writes = run, observer, peers.first

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        self._observer.step(epoch, step, steps, loss, films_per_second)

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        if self._writes:
            self._run.write_history(history)
        self._observer.epoch(record, history)

    def note(self, text: str) -> None:
        self._observer.note(text)
