"""The run folder: the files of a training, each complete or absent."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

import pneumoscan
from pneumoscan.errors import ConfigError, DataDamagedError, UsageError
from pneumoscan.files import locked, make_folder, write_atomic, write_json
from pneumoscan.system import cpu_info
from pneumoscan.training.config import TrainingConfig, read_toml_config, to_toml
from pneumoscan.training.engine import Fit
from pneumoscan.training.state import EpochRecord

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
                f"{path} is no run folder: it contains {others[0]}"
                + (f" and {len(others) - 1} more." if len(others) > 1 else "."),
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


def processor() -> str:
    """Return the name of the processor."""
    lines = cpu_info().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
