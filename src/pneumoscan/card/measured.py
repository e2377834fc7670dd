"""Read the records that a model card is written from, and check that they belong to the bundle.

    RECORDS/
        seed-K/metrics.json     `pneumoscan evaluate RUN --split held-out --stress`; required for the seed of the bundle
        seed-K/history.jsonl    of the run; required for the seed of the bundle
        seed-K/manifest.json    of the run; required for the seed of the bundle
        about.toml              optional: texts of the authors; see `about`
        heatmaps.json, guard.json, latency.json
                                optional: the measurements of `pneumoscan card RUN --data DIR`

The card names missing measurements as not measured. Records of another model are an error. Without a folder, the figures of the
held-out films come from the `records.json` of the bundle, if it has one.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.classifier import model_name
from pneumoscan.errors import ConfigError, UsageError
from pneumoscan.files import read_toml

_MEASURE = "Measure again: pneumoscan card RUN --data DIR."


@dataclass(frozen=True)
class About:
    """The texts, as Markdown without headings.

    Attributes:
        tags: Tags of the front matter.
        purpose: Intended use.
        limits: Uses that are out of scope.
        use: How to use the model.
        films: Patients, hospital and labels of the training films.
        traits: Known biases of the films.
        held_out: Notes on the figures of held-out patients; a list.
        ethics: Ethical considerations.
        withdrawn: What was claimed of this model or an earlier one, and why it is withdrawn; or empty.
        official: Folder of the blind evaluations (`record.json` and the files it names), relative to the TOML file; or empty.
        shortcuts: `rows` (an input and the area under ROC with which it predicts the label), `folds`, `source`; empty if not
            measured.
        again: Parts of the commands that train the model again: `fetch`, `data`.
        folder: Folder of the TOML file; None if there is none.
    """

    tags: tuple[str, ...]
    purpose: str
    limits: str
    use: str
    films: str
    traits: str
    held_out: str
    ethics: str
    withdrawn: str
    official: str
    shortcuts: Mapping[str, Any]
    again: Mapping[str, str]
    folder: Path | None = None

    @property
    def official_folder(self) -> Path | None:
        """The folder of blind evaluations; None for none."""
        return self.folder / self.official if self.official and self.folder else None


@dataclass(frozen=True)
class SeedRecord:
    """The records of one training.

    Attributes:
        seed: Seed of the training.
        metrics: Metrics of its held-out films, with `stress`; empty if not recorded.
        history: One row per epoch; empty if not recorded.
        manifest: `manifest.json` of the run; empty if not recorded.
        from_bundle: Whether the metrics come from the `records.json` of the bundle.
    """

    seed: int
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]
    from_bundle: bool = False

    @property
    def minutes(self) -> float | None:
        """Time in training steps; None if not recorded."""
        return sum(row["seconds"] for row in self.history) / 60 if self.history else None


@dataclass(frozen=True)
class Records:
    """The content of the card.

    Attributes:
        bundle: The bundle that the card describes.
        where: Path of the folder of the records as the card names it.
        own: Records of the seed of the bundle.
        seeds: Records of all seeds, including `own`, in order.
        about: Texts of the authors.
        heatmaps: Result of `measure_heatmaps`. This and the following are None if not measured.
        guard: Result of `measuring.measure_detector`.
        latency: Medians and machine.
    """

    bundle: Bundle
    where: str
    own: SeedRecord
    seeds: tuple[SeedRecord, ...]
    about: About
    heatmaps: Mapping[str, Any] | None = None
    guard: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None


def read_records(model: Path, folder: Path | None, *, where: str = "", about: Path | None = None) -> Records:
    """Read the bundle, its records and the texts of its authors.

    Args:
        model: A bundle, or a run with one.
        folder: Folder of the records; None if there is none.
        where: Path of the folder as the card names it.
        about: TOML file of `about`; by default `about.toml` of the folder, if it exists.

    Raises:
        UsageError: A required record is missing, or one is damaged or of another model.
        ConfigError: The TOML file cannot be used; see `read_about`.
        BundleError: The bundle is damaged.
    """
    bundle = load_bundle(model)
    words = read_about(about or (folder / "about.toml" if folder else None), required=about is not None)
    seed = int(bundle.spec.training.get("seed") or 0)
    if folder is None:
        own = _of_bundle(bundle, seed)
        return Records(bundle, where, own, (own,), words)
    seeds = _read_seeds(bundle, folder, f"seed-{seed}")
    return Records(
        bundle,
        where,
        seeds[f"seed-{seed}"],
        tuple(sorted(seeds.values(), key=lambda record: record.seed)),
        words,
        heatmaps=_of_this_model(bundle, folder / "heatmaps.json"),
        guard=_of_this_model(bundle, folder / "guard.json"),
        latency=_optional(folder / "latency.json"),
    )


def _of_bundle(bundle: Bundle, seed: int) -> SeedRecord:
    """Return the metrics of `records.json` in the form of `metrics.json`."""
    records = bundle.records()
    if records is None:
        return SeedRecord(seed, {}, [], {})
    held_out = records["held_out"]
    metrics = {
        **held_out,
        "prevalence": held_out["n_positive"] / held_out["n"],
        "cautions": records["cautions"],
        "stress": records["stress"],
    }
    return SeedRecord(seed, metrics, [], {}, from_bundle=True)


def _read_seeds(bundle: Bundle, folder: Path, own: str) -> dict[str, SeedRecord]:
    for name in ("metrics.json", "history.jsonl", "manifest.json"):
        if not (folder / own / name).is_file():
            raise UsageError(f"{folder / own / name} is missing: it is the record of the model.", _MEASURE)
    found = {path.name: path for path in sorted(folder.glob("seed-*")) if path.is_dir()}
    seeds = {name: read_seed(path) for name, path in found.items() if (path / "metrics.json").is_file()}
    _check_own(bundle, seeds[own], folder / own)
    return seeds


def read_seed(path: Path) -> SeedRecord:
    """Read `seed-K`.

    Raises:
        UsageError: It is damaged, or its figures are not of held-out films in several views.
    """
    metrics = read_json(path / "metrics.json")
    if metrics.get("split") != "held-out" or "stress" not in metrics:
        raise UsageError(
            f"{path / 'metrics.json'} is of the split {metrics.get('split')!r}, "
            f"{'with' if 'stress' in metrics else 'without'} stress.",
            "Evaluate the run with --split held-out --stress.",
        )
    history = path / "history.jsonl"
    rows = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    manifest = _optional(path / "manifest.json") or {}
    seed = re.fullmatch(r"seed-(\d+)", path.name)
    if not seed or int(seed[1]) != manifest.get("seed", int(seed[1])):
        raise UsageError(f"{path} holds a run of seed {manifest.get('seed')}.", _MEASURE)
    return SeedRecord(int(seed[1]), metrics, [json.loads(row) for row in rows], manifest)


def read_json(path: Path) -> dict[str, Any]:
    """Return a record; raises UsageError if the file is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path} is not a record: {problem}", _MEASURE) from problem
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a record: it is not a JSON object.", _MEASURE)
    return value


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _of_this_model(bundle: Bundle, path: Path) -> dict[str, Any] | None:
    record = _optional(path)
    if record is not None and record.get("model") != model_name(bundle):
        raise UsageError(f"{path} is of {record.get('model')}, the model is {model_name(bundle)}.", _MEASURE)
    return record


def _check_own(bundle: Bundle, own: SeedRecord, path: Path) -> None:
    """Raise an error unless name, threshold, films and seed of the record are those of the bundle."""
    spec = bundle.spec
    pairs = {
        "model": (own.metrics.get("model"), spec.name),
        "threshold": (own.metrics.get("threshold"), spec.threshold()),
        "data_sha256": (own.manifest.get("data_sha256"), spec.training.get("data_sha256")),
        "seed": (own.manifest.get("seed"), spec.training.get("seed")),
    }
    for name, (recorded, shipped) in pairs.items():
        if recorded != shipped:
            raise UsageError(f"{path} has {name} {recorded!r}, the bundle {shipped!r}.", _MEASURE)


def read_about(path: Path | None, *, required: bool = False) -> About:
    """Return the texts of a file over those of the package.

    Args:
        path: TOML file with any of the attributes of `About`; None for none.
        required: Whether a missing file is an error.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has a key that is unknown or of another type.
    """
    text = resources.files("pneumoscan.card").joinpath("about.toml").read_text("utf-8")
    tree = tomllib.loads(text)
    if path is None or not (required or path.is_file()):
        return About(**{**tree, "tags": tuple(tree["tags"])})
    given = read_toml(path)
    for key, value in given.items():
        if key not in tree:
            known = ", ".join(field.name for field in fields(About) if field.name in tree)
            raise ConfigError(f"{path}: there is no key {key!r}.", f"Known: {known}.")
        if type(value) is not type(tree[key]):
            raise ConfigError(f"{path}: {key} is {value!r}.", f"It must be a {type(tree[key]).__name__}.")
    texts = {**tree, **given, "again": {**tree["again"], **given.get("again", {})}}
    return About(**{**texts, "tags": tuple(texts["tags"])}, folder=path.parent)
