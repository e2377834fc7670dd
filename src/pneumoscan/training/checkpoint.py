"""Checkpoints: everything that a run needs to resume with the same bytes. Two generations are kept.

A generation is `NAME.safetensors` (weights, their average, the best weights, the state of the optimizer) and `NAME.json` (the
state of the loop, the history, and the SHA-256 of the tensors). The JSON is written last, and each file in one step. A
generation without a matching JSON is ignored.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from pneumoscan.errors import CheckpointError
from pneumoscan.files import write_atomic, write_json

GENERATIONS = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name (any dtype, on the CPU) and a state of JSON types."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, step: int) -> None:
    """Write a generation and delete all but the last `GENERATIONS`.

    Raises:
        DiskFullError, NotWritableError: The older generations are intact.
    """
    data = save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
    name = f"step-{step:09d}"
    write_atomic(folder / f"{name}.safetensors", data)
    body = {"step": step, "tensors_sha256": hashlib.sha256(data).hexdigest(), "state": checkpoint.state}
    write_json(folder / f"{name}.json", {**body, "sha256": _digest(body)})
    for old in _generations(folder)[GENERATIONS:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest complete generation, and a sentence for each newer one that is damaged.

    Returns:
        The checkpoint and the sentences; (None, []) if there is no finished checkpoint.

    Raises:
        CheckpointError: All generations are damaged.
    """
    complaints: list[str] = []
    for path in _generations(folder):
        try:
            return _read(path), complaints
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as problem:
            complaints.append(f"checkpoint {path.name} is damaged ({problem}); using the one before it")
    if complaints:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged: {'; '.join(complaints)}.",
            "Train again in another folder.",
        )
    return None, []


def _read(path: Path) -> Checkpoint:
    body = json.loads(path.read_text(encoding="utf-8"))
    if body.pop("sha256") != _digest(body):
        raise ValueError("its JSON was changed")
    data = path.with_suffix(".safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != body["tensors_sha256"]:
        raise ValueError("its tensors do not match their SHA-256")
    return Checkpoint(load(data), body["state"])


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _generations(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.json"), reverse=True)
