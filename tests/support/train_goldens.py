"""Digests of small trainings and of their bundles. `python tests/support/train_goldens.py` writes those of this machine.

Another processor or another torch adds in another order, so the digests of a machine hold for machines of its kind.
"""

import hashlib
import json
import platform
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import torch
from synthetic_films import draw_film

from pneumoscan.imaging import Preprocessing
from pneumoscan.system import cpu_info
from pneumoscan.train.backend import resolve
from pneumoscan.train.config import TrainingConfig, load_config
from pneumoscan.train.export import export
from pneumoscan.train.films import TrainingFilms

GOLDENS = Path(__file__).parents[1] / "train" / "goldens.json"
SMALL = ("data.size=48", "loop.epochs=2", "loop.batch_size=8", "loop.micro_batch=3", "loop.device=cpu")
PRESETS = {
    "baseline": ("model.channels=[4, 4]", "model.dropout=0.2"),
    "baseline-plain": ("model.channels=[4, 4]", "model.conv_dropout=0.1"),
    "baseline-quick": ("model.channels=[4, 4]", "augmentation.erase=0.5"),
    "flagship": ("model.stem=4", "model.channels=[8, 12]", "model.blocks=[1, 1]", "loop.restore_best=true"),
    "transfer": ("model.weights=random", "model.frozen_norm=false", "loop.epochs=1"),
}
RUNS = {
    f"{preset}, {precision}, {threads} thread{'s' * (threads > 1)}": (preset, precision, threads)
    for preset, precision, threads in (
        *((preset, "float32", threads) for preset in PRESETS for threads in (1, 2)),
        ("baseline", "bfloat16", 2),
    )
}
EXPORTED = "flagship, float32, 1 thread"
VOLATILE = (
    "created",
    "commit",
    "pneumoscan_version",
    "files",
    "checksum",
)  # and the hashes of files that contain them


def machine() -> str:
    """Return what the last bits of a sum depend on."""
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
    flags = set(re.findall(r"\w+", cpu_info()))
    names = [platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability()]
    versions = (
        f"torch {torch.__version__}",
        f"numpy {np.__version__}",
        f"onnxruntime {onnxruntime.__version__}",
    )
    return " ".join([*versions, *names, *(flag for flag in wanted if flag in flags)])


def films() -> TrainingFilms:
    """Return 40 synthetic films of 48×48 of two sites, ten of them held out."""
    rng = np.random.default_rng(5)
    labels = np.arange(40) % 2
    images = np.stack([draw_film(rng, (48, 48), consolidation=bool(label)) for label in labels])
    rows = np.arange(40)
    return TrainingFilms(
        images,
        labels.astype(np.float32),
        rows[:30],
        rows[30:],
        Preprocessing(size=48, mean=0.48, std=0.24),
        patient_ids=np.array([f"p{row // 2}" for row in rows]),
        sites=np.where(rows % 4 < 2, "a", "b"),
    )


def config(run: str) -> TrainingConfig:
    """Return the resolved configuration of one of `RUNS`."""
    preset, precision, threads = RUNS[run]
    own = (*SMALL, *PRESETS[preset], f"loop.precision={precision}", f"loop.worker_threads={threads}")
    return resolve(load_config(preset, None, own))


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of names, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def history_digest(history: list[Any]) -> str:
    """Return the SHA-256 of a history without its times."""
    rows = [
        {key: value for key, value in row.items() if key not in ("seconds", "films_per_second")}
        for row in history
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def bundle_digests(run: str, weights: dict[str, torch.Tensor], folder: Path) -> dict[str, str]:
    """Export a run, and return the SHA-256 of each part of its bundle."""
    facts = {"films": {"train": 30, "val": 10, "patients": 20, "positive": 20}, "film_sha256": ["ab" * 32]}
    finished = SimpleNamespace(
        read_weights=lambda: weights, read_manifest=lambda: facts, bundle=folder / "bundle", path=folder
    )
    own = films()
    exported = export(finished, config(run), own)
    spec = json.loads((exported.bundle / "model.json").read_text())
    session = onnxruntime.InferenceSession(exported.bundle / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"film": own.plain(np.arange(8)).numpy()})
    named = zip([entry.name for entry in session.get_outputs()], map(torch.from_numpy, outputs), strict=True)
    stable = {key: value for key, value in spec.items() if key not in VOLATILE}
    return {
        "model.json": hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest(),
        "records.json": hashlib.sha256((exported.bundle / "records.json").read_bytes()).hexdigest(),
        "outputs": digest(dict(named)),
    }


def main() -> None:
    """Write the digests of this machine beside those of others."""
    from pneumoscan.train.loop import fit

    known = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {}
    found: dict[str, Any] = {}
    for run in RUNS:
        result = fit(config(run), films())
        found[run] = {"weights": digest(result.weights), "history": history_digest(result.history)}
        if run == EXPORTED:
            with tempfile.TemporaryDirectory() as folder:
                found[run]["bundle"] = bundle_digests(run, result.weights, Path(folder))
    known[machine()] = found
    GOLDENS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{len(found)} runs for {machine()}\n")


if __name__ == "__main__":
    main()
