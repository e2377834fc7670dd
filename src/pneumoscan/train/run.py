"""Train a network on a set of films and write the run folder: data, cache, hold-out, loop, weights, graph, bundle."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

import pneumoscan
from pneumoscan.data.cache import FilmCache, open_cache
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.splits import hold_out, read_split_csv, write_split_csv
from pneumoscan.errors import ConfigError, DataDamagedError, NothingUsableError, UsageError
from pneumoscan.files import locked, make_folder, write_atomic, write_json
from pneumoscan.system import processor
from pneumoscan.train.backend import Peers, joined_peers, resolve
from pneumoscan.train.checkpoint import EpochRecord
from pneumoscan.train.config import TrainingConfig, read_toml_config, to_toml
from pneumoscan.train.films import TrainingFilms, training_films
from pneumoscan.train.loop import Fit, Observer, Unobserved, fit
from pneumoscan.train.outliner import preparation_of

Progress = Callable[[int, int], None]
PACKAGES = ("numpy", "pillow", "torch", "safetensors", "scikit-learn", "onnxruntime")
WEIGHTS_KEY = "pneumoscan"
# What may lie in a run folder before its configuration is written.
_FIRST_FILES = frozenset((".lock", "checkpoints", "tensorboard"))


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """`config.toml`, the resolved configuration."""
        return self.path / "config.toml"

    @property
    def split(self) -> Path:
        """`split.csv`, the training films and the held-out films."""
        return self.path / "split.csv"

    @property
    def manifest(self) -> Path:
        """`manifest.json`, the origin and the result of the run."""
        return self.path / "manifest.json"

    @property
    def checkpoints(self) -> Path:
        """`checkpoints/`."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """`model.safetensors`, written when the run is finished."""
        return self.path / "model.safetensors"

    @property
    def bundle(self) -> Path:
        """`bundle/`, the exported model."""
        return self.path / "bundle"

    def write_history(self, history: Sequence[EpochRecord]) -> None:
        """Write `history.jsonl`, one line per epoch."""
        write_atomic(self.path / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history))

    def write_manifest(self, facts: dict[str, Any]) -> None:
        """Add facts to `manifest.json`."""
        write_json(self.manifest, {**self.read_manifest(), **facts})

    def read_manifest(self) -> dict[str, Any]:
        """Return the facts of `manifest.json`; empty if the file does not exist.

        Raises:
            DataDamagedError: The file is not JSON.
        """
        if not self.manifest.exists():
            return {}
        try:
            facts: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise DataDamagedError(
                f"{self.manifest} is damaged: {problem}.", "Restore it, or train again."
            ) from None
        return facts

    def write_weights(self, fit: Fit, config: TrainingConfig) -> None:
        """Write `model.safetensors`: the weights, with a description of the network in its header."""
        # One key only, because safetensors writes several in an order that differs between processes.
        header = {
            WEIGHTS_KEY: json.dumps({"model": config.model.model_dump(mode="json"), "size": config.data.size})
        }
        tensors = {name: tensor.contiguous() for name, tensor in fit.weights.items()}
        write_atomic(self.weights, save(tensors, header))

    def read_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of a finished run.

        Raises:
            UsageError: The run is not finished.
            DataDamagedError: The file was changed, or contains values that are not finite.
        """
        if not self.weights.exists():
            raise UsageError(
                f"{self.path} has no finished model.", "Finish it with `pneumoscan train --resume`."
            )
        try:
            tensors: dict[str, torch.Tensor] = load(self.weights.read_bytes())
        except SafetensorError as problem:
            raise DataDamagedError(
                f"{self.weights} is damaged: {problem}.", "Train again, or restore it."
            ) from None
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise DataDamagedError(
                f"{self.weights} contains NaN or infinite weights.", "Train again, or restore it."
            )
        return tensors


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
        watcher = observer if observer is not None and peers.first else Unobserved()
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


def run_with_films(
    path: Path, data: Sources, decoding: Progress | None, cache: Path | None
) -> tuple[RunFolder, TrainingConfig, TrainingFilms]:
    """Return a run with its config and its films; raises as `train` says."""
    run = RunFolder(path)
    config = read_toml_config(run.config)
    films, _ = _films(config, _without_left_out(train_split(data), config), run, Peers(), decoding, cache)
    return run, config, films


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
    preparation = preparation_of(config, manifest)
    table = open_cache(
        manifest, size=config.data.size, preparation=preparation, folder=cache, progress=decoding
    )
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
    from pneumoscan.evaluate.convergence import ConvergenceDisplay
    from pneumoscan.evaluate.drawing import save_figure

    run.write_history(finished.history)
    display = ConvergenceDisplay.from_history(finished.history, best_epoch=finished.kept_epoch)
    save_figure(display.plot(), run.path / "convergence")
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


@contextmanager
def opened_run(
    path: Path, config: TrainingConfig | None, *, resume: bool
) -> Iterator[tuple[RunFolder, TrainingConfig]]:
    """Open and lock a run folder, either a new one or one to resume.

    Args:
        path: The folder.
        config: The resolved configuration; None uses the saved one.
        resume: Continue the run in the folder.

    Raises:
        UsageError: The folder contains a run and `resume` is False, or contains none and no configuration is given, or
            contains something else.
        ConfigError: `config` differs from the configuration of the run.
        LockedError: Another process trains in the folder.
    """
    run = RunFolder(path)
    if config is not None and path.is_dir() and not run.config.exists():
        others = sorted(each.name for each in path.iterdir() if each.name not in _FIRST_FILES)
        if others:
            raise UsageError(
                f"{path} is no run folder: it contains {others[0]}{f' and {len(others) - 1} more' * (len(others) > 1)}.",
                "Choose a new folder for --out.",
            )
    with locked(path / ".lock", what=f"run folder {path}"):
        if run.config.exists():
            if not resume:
                raise UsageError(
                    f"{path} already contains a run.", "Continue it with --resume, or choose another folder."
                )
            saved = read_toml_config(run.config)
            if config is not None and config != saved:
                raise ConfigError(
                    f"the run in {path} was started with another configuration.",
                    "Leave out --preset, --config and --set.",
                )
            yield run, saved
            return
        if config is None:
            raise UsageError(
                f"{path} contains no run to resume.", "Check the path, or start a run without --resume."
            )
        make_folder(run.checkpoints)
        write_atomic(run.config, to_toml(config))
        yield run, config


def origin(config: TrainingConfig) -> dict[str, Any]:
    """Return the origin of a run: versions, machine, seed, commit, time."""
    return {
        "pneumoscan": pneumoscan.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": {"system": platform.system(), "processor": processor(), "cores": os.cpu_count()},
        "threads": config.loop.worker_threads,
        "precision": config.loop.precision,
        "device": config.loop.device,
        "seed": config.loop.seed,
        "preset": config.preset,
        "commit": commit(),
    }


def commit() -> str | None:
    """Return the commit of the source, with `+` if the source has changes; None outside a checkout."""
    folder = Path(pneumoscan.__file__).parent
    try:
        describe = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        tracked = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"],  # noqa: S607
            capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return describe.stdout.strip() if tracked.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
