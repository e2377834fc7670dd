"""The sections of the model card about its origin: network, training, cost, versions, and commands to train it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from pneumoscan.card.markdown import listed, minutes, named, not_measured, own, settings, source, table
from pneumoscan.card.records import Records

_SHOWN: dict[str, tuple[str, ...] | None] = {
    "augmentation": None,
    "optimizer": ("name", "learning_rate", "weight_decay"),
    "schedule": ("name", "warmup"),
    "loss": ("class_weights", "label_smoothing"),
    "loop": ("epochs", "batch_size", "micro_batch", "precision", "ema_decay", "restore_best"),
}


def network(records: Records) -> list[str]:
    """Return the inputs and outputs of the network."""
    spec = records.bundle.spec
    size, shape = spec.preprocessing.size, dict(spec.training.get("config", {}).get("model", {}))
    mirrored = shape.pop("mirrored", False)
    members = spec.training.get("members", ())
    begun = "trained from weights of ImageNet" if shape.get("name") == "transfer" else "trained from scratch"
    names = [f"`{one['preset']}`" for one in members]
    structure = (
        f"the mean of {len(members)} networks ({listed(names)})"
        + (", with heads for films of other sites" if spec.training.get("fitted_to") else "")
        if members
        else f"{settings(shape)}, {begun}"
    )
    lines = [
        "## The network",
        "",
        f"{spec.parameters:,} parameters: {structure}. One ONNX file for ONNX Runtime, on a CPU.",
        "",
        f"- **Input**: the film in grey, resized to {size}×{size} without keeping its aspect ratio, normalised (`{spec.preprocessing.normalisation}`, mean "
        f"{spec.preprocessing.mean:g}, standard deviation {spec.preprocessing.std:g}).",
        f"- **Outputs**: {', '.join(f'`{name}`' for name in spec.outputs)}; probability = sigmoid(logit / {spec.temperature:.3f}).",
    ]
    if "activation_map" in spec.outputs:
        lines.append("- **Map**: its mean is the logit, so it shows the exact contribution of each region.")
    if mirrored and not members:
        lines.append(
            "- **Mirrored reading**: the graph averages the maps of the film and of its mirror image."
        )
    if spec.guard:
        lines.append(
            "- **Out-of-distribution detector**: the output `distance` measures how much a film differs from the training films."
        )
    return [*lines, *source("model.json")]


def training(records: Records) -> list[str]:
    """Return how the model was trained."""
    facts, shipped = records.bundle.spec.training, records.own
    rows = [
        (part, settings(_shown(facts.get("config", {}).get(part, {}), keys))) for part, keys in _SHOWN.items()
    ]
    if members := facts.get("members"):
        return _members(records, members)
    seeds = [record.seed for record in records.seeds]
    recorded = f" Seeds {listed(seeds)} are recorded." if len(seeds) > 1 else ""
    return [
        "## Training",
        "",
        f"Preset `{facts.get('preset')}`, seed {shipped.seed}: {_steps(records)}. The weights are those of epoch "
        f"{facts.get('kept_epoch')}.{recorded}",
        "",
        *table(("part", "settings"), rows),
        *source(own(records, "history.jsonl"), own(records, "manifest.json"), "model.json"),
    ]


def _steps(records: Records) -> str:
    """Return epochs, time and machine of the training."""
    manifest, history = records.own.manifest, records.own.history
    if not manifest:
        return f"{records.bundle.spec.training.get('epochs')} epochs, in an unknown time"
    machine = manifest.get("machine", {})
    return (
        f"{len(history)} epochs, {minutes(records.own)} of training steps on {manifest.get('threads')} threads "
        f"({machine.get('processor')}, {machine.get('cores')} cores)"
    )


def _members(records: Records, members: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            f"`{one['preset']}`",
            str(one["seed"]),
            str(one["epochs"]),
            _time_of(records, one),
        )
        for one in members
    ]
    fitted = records.bundle.spec.training.get("fitted_to", {})
    heads = [
        f"The heads for `{name}` were fitted to {facts['films']} films, {facts['n_positive']} of them with pneumonia; the networks were not trained on these."
        for name, facts in fitted.items()
    ]
    return [
        "## Training",
        "",
        "The networks were trained one by one on the same films, with the same patients held out, and combined by `pneumoscan combine`."
        + "".join(f" {head}" for head in heads),
        "",
        *table(("preset", "seed", "epochs", "training steps, 2 cores"), rows),
        *source(own(records, "history.jsonl"), "model.json"),
    ]


def _time_of(records: Records, member: Mapping[str, Any]) -> str:
    """Return the time in training steps of a member; early histories name its preset and not its seed."""
    rows = [row for row in records.own.history if row["member"] == member["preset"]]
    if not rows:
        return "not recorded"
    own_rows = [row for row in rows if row.get("seed", member["seed"]) == member["seed"]]
    return f"{sum(row['seconds'] for row in own_rows) / 60:.1f} minutes"


def _shown(values: dict[str, Any], keys: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the settings that are on; `erase_area` is off if `erase` is."""
    off = {name for name, value in values.items() if value in (None, 0)}
    parents = {name: {other for other in off if name.startswith(f"{other}_")} for name in values}
    return {
        name: values[name]
        for name in keys or values
        if name in values and name not in off and not parents[name]
    }


def again(records: Records) -> list[str]:
    """Return the commands that train or adapt the model."""
    facts = records.bundle.spec.training
    preset, members, given = facts.get("preset"), facts.get("members", ()), records.about.again
    data = given["data"]
    train = [
        f"    pneumoscan train --preset {preset} --data {data} --out runs/again --set loop.seed={records.own.seed}"
    ]
    if members:
        runs = [f"runs/{one['preset']}" for one in members]
        train = [
            f"    pneumoscan train --preset {one['preset']} --data {data} --out {run} --set loop.seed={one['seed']}"
            for one, run in zip(members, runs, strict=True)
        ]
        places = given["sites"] or " ".join(f"--data {name}=DIR" for name in records.bundle.spec.sites or ())
        train += [f"    pneumoscan combine {' '.join(runs)} {places} --out runs/again"]
    took = minutes(records.own)
    spent = (
        f"The training steps took {took}, without decoding, validation and export. "
        if records.own.history
        else ""
    )
    return [
        "## Train it again, or adapt it",
        "",
        *([f"    {given['fetch']}"] if given["fetch"] else []),
        *train,
        f"    pneumoscan evaluate runs/again --data {data} --split held-out --stress --out evaluation",
        "    pneumoscan adapt my-films/ --out my-model    # evaluates and refits it on 50 to 200 labelled films of yours",
        "",
        f"{spent}See [docs/training.md](docs/training.md) and [docs/adapt.md](docs/adapt.md).",
    ]


def cost(records: Records) -> list[str]:
    """Return the time of training and of reading a film."""
    timed = [record for record in records.seeds if record.minutes is not None]
    hours = sum((record.minutes or 0) * record.manifest.get("threads", 0) for record in timed) / 60
    trained = f"{len(timed)} recorded trainings" if len(timed) > 1 else "The recorded training"
    lines = [
        f"{trained} took {hours:.1f} core-hours of training steps on a CPU, without a graphics card. Earlier experiments and electricity "
        "were not measured.",
        *source(*(named(records, f"seed-{record.seed}/history.jsonl") for record in timed)),
        "",
    ]
    if not timed:
        lines = [*not_measured("The cost of the training", "`history.jsonl` of the run"), ""]
    heading, record = ["## Cost", ""], records.latency
    if record is None:
        return [
            *heading, *lines, *not_measured("The time to read a film", f"`{named(records, 'latency.json')}`")
        ]  # fmt: skip
    return [
        *heading,
        *lines,
        f"Reading a film, medians ({record.get('machine', {}).get('processor', 'processor not recorded')}):",
        "",
        *(f"- {what}: {value:.2f}" for what, value in record["medians"].items()),
        *source(named(records, "latency.json")),
    ]


def versions(records: Records) -> list[str]:
    """Return versions and hashes."""
    spec, manifest = records.bundle.spec, records.own.manifest
    packages = ", ".join(f"{name} {version}" for name, version in manifest.get("packages", {}).items())
    trained = f"{manifest.get('created')}, commit `{manifest.get('commit') or 'unknown'}`, Python {manifest.get('python')}"
    size = (records.bundle.path / "model.onnx").stat().st_size
    rows = [
        (
            "exported",
            f"{spec.created}, pneumoscan {spec.pneumoscan_version}, commit `{spec.commit or 'unknown'}`",
        ),
        *((("trained", trained), ("with", packages)) if manifest else ()),
        ("films, fingerprint", f"`{spec.training.get('data_sha256')}`"),
        ("`model.onnx`", f"{size / 1e6:.2f} MB, SHA-256 `{spec.files['model.onnx']}`"),
        ("licence", "; ".join(f"{what}: {text}" for what, text in spec.licence.items())),
    ]
    return ["## Versions", "", *table(("", ""), rows), *source("model.json", own(records, "manifest.json"))]
