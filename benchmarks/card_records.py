"""The records that the model card is written from, read and held against the shipped bundle.

    results/flagship-2/
        seed-K/metrics.json     `pneumoscan evaluate RUN --split held-out --stress`; required for the seed of the bundle
        seed-K/history.jsonl    of the run, or of each `member` of a combined one; required for the seed of the bundle
        seed-K/manifest.json    of the run; required for the seed of the bundle
        heatmaps.json           `python benchmarks/heatmaps.py`
        guard.json              `python benchmarks/guard.py`
        latency.json            `medians` by what was timed (with its unit) and `machine`, as the benchmarks write them
        failures.json, .png     `python benchmarks/model_card.py` itself
    docs/log.md                 how well the label can be guessed without the lungs

What is missing is told as not measured. What belongs to another model is refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscan.inference.bundle import Bundle, load_bundle
from pneumoscan.inference.rows import model_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "results" / "flagship-2"
OFFICIAL = ROOT / "results" / "official"
LOG = ROOT / "docs" / "log.md"
FAILURES, PICTURE = "failures.json", "failures.png"
_SHORTCUTS = re.compile(
    r"patient-grouped\s+(?P<folds>\d+)-fold\s+AUC:\s+border\s+(?P<border>[\d.]+),\s+20×20\s+thumbnail\s+(?P<thumbnail>[\d.]+),"
    r"\s+size\s+of\s+the\s+file\s+alone\s+(?P<file>[\d.]+),\s+mean\s+brightness\s+(?P<brightness>[\d.]+)\."
)


class RecordError(Exception):
    """A record is missing, damaged, or of another model."""


@dataclass(frozen=True)
class SeedRecord:
    """What is known of one training.

    Attributes:
        seed: Of the training.
        metrics: Of its held-out films, with `stress`.
        history: A row an epoch; empty if not recorded.
        manifest: Of the run; empty if not recorded.
    """

    seed: int
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]

    @property
    def minutes(self) -> float | None:
        """Time in training steps; None if not recorded."""
        return sum(row["seconds"] for row in self.history) / 60 if self.history else None


@dataclass(frozen=True)
class Records:
    """All that the card says.

    Attributes:
        bundle: The shipped one.
        where: The records' folder as the card names it.
        own: The seed that the bundle is of.
        seeds: Every recorded one, `own` among them, in order.
        shortcuts: AUC by what the label was guessed from, and `folds`; empty if the log does not tell.
        heatmaps: None if not measured; so are the following.
        guard: Of `benchmarks/guard.py`.
        latency: Medians and machine.
        failures: Of `card_failures.search`.
    """

    bundle: Bundle
    where: str
    own: SeedRecord
    seeds: tuple[SeedRecord, ...]
    shortcuts: Mapping[str, str]
    heatmaps: Mapping[str, Any] | None = None
    guard: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    failures: Mapping[str, Any] | None = None


def read_records(
    shipped: Path, folder: Path = FOLDER, *, where: str = "results/flagship-2", log: Path = LOG
) -> Records:
    """Read everything there is.

    Raises:
        RecordError: A required record is missing, or one is damaged or of another model.
        BundleError: The bundle is damaged.
    """
    bundle = load_bundle(shipped)
    found = {path.name: path for path in sorted(folder.glob("seed-*")) if path.is_dir()}
    own = f"seed-{bundle.spec.training.get('seed')}"
    for name in ("metrics.json", "history.jsonl", "manifest.json"):
        if not (folder / own / name).is_file():
            raise RecordError(f"{folder / own / name} is missing: it is the record of the shipped bundle.")
    seeds = {name: read_seed(path) for name, path in found.items() if (path / "metrics.json").is_file()}
    _check_own(bundle, seeds[own], folder / own)
    return Records(
        bundle,
        where,
        seeds[own],
        tuple(sorted(seeds.values(), key=lambda record: record.seed)),
        shortcuts_of(log),
        heatmaps=_of_this_model(bundle, folder / "heatmaps.json"),
        guard=_of_this_model(bundle, folder / "guard.json"),
        latency=_optional(folder / "latency.json"),
        failures=_with_its_picture(_of_this_model(bundle, folder / FAILURES), folder / PICTURE),
    )


def read_seed(path: Path) -> SeedRecord:
    """Read `seed-K`.

    Raises:
        RecordError: It is damaged, or its figures are not of held-out films in several views.
    """
    metrics = read_json(path / "metrics.json")
    if metrics.get("split") != "held-out" or "stress" not in metrics:
        raise RecordError(
            f"{path / 'metrics.json'} is of the split {metrics.get('split')!r}, "
            f"{'with' if 'stress' in metrics else 'without'} stress: judge the run with --split held-out --stress."
        )
    history = path / "history.jsonl"
    rows = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    manifest = _optional(path / "manifest.json") or {}
    seed = re.fullmatch(r"seed-(\d+)", path.name)
    if not seed or int(seed[1]) != manifest.get("seed", int(seed[1])):
        raise RecordError(f"{path} holds a run of seed {manifest.get('seed')}.")
    return SeedRecord(int(seed[1]), metrics, [json.loads(row) for row in rows], manifest)


def shortcuts_of(log: Path) -> dict[str, str]:
    """Return what the log says about guessing the label without the lungs; empty if it says nothing."""
    found = _SHORTCUTS.search(log.read_text(encoding="utf-8")) if log.is_file() else None
    return found.groupdict() if found else {}


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RecordError(f"{path} is no record: {problem}") from problem
    if not isinstance(value, dict):
        raise RecordError(f"{path} is no record: it is not a table of named values.")
    return value


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _of_this_model(bundle: Bundle, path: Path) -> dict[str, Any] | None:
    record = _optional(path)
    if record is not None and record.get("model") != model_name(bundle):
        raise RecordError(
            f"{path} is of {record.get('model')}, the shipped model is {model_name(bundle)}: measure again."
        )
    return record


def _with_its_picture(record: dict[str, Any] | None, picture: Path) -> dict[str, Any] | None:
    if record is None or not record["cases"]:
        return record
    drawn = hashlib.sha256(picture.read_bytes()).hexdigest() if picture.is_file() else None
    if drawn != record["picture_sha256"]:
        raise RecordError(f"{picture} is not the picture of {FAILURES}: run benchmarks/model_card.py.")
    return record


def _check_own(bundle: Bundle, own: SeedRecord, path: Path) -> None:
    """The record names no network, but its name, threshold and films are those of one bundle only."""
    spec = bundle.spec
    pairs = {
        "model": (own.metrics.get("model"), spec.name),
        "threshold": (own.metrics.get("threshold"), spec.threshold()),
        "data_sha256": (own.manifest.get("data_sha256"), spec.training.get("data_sha256")),
        "seed": (own.manifest.get("seed"), spec.training.get("seed")),
    }
    for name, (recorded, shipped) in pairs.items():
        if recorded != shipped:
            raise RecordError(f"{path} has {name} {recorded!r}, the shipped bundle {shipped!r}.")
