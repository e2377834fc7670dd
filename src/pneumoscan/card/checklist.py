"""Reporting checklists for reviewers, filled from the records of a model: CLAIM 2024 and TRIPOD+AI.

Each item has the place where it is answered, or is not done. `checklists.toml` has the items in our own words and the facts that answer them. What
no record holds, authors tell in a `checklists.toml` of their own, beside their `about.toml`: `[claim]` and `[tripod]`, a text by number of the item.
"""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pneumoscan.card.measured import Records, read_about
from pneumoscan.card.model_card import blind_of, own
from pneumoscan.classifier import model_name
from pneumoscan.errors import ConfigError
from pneumoscan.files import read_toml
from pneumoscan.pages import between, render, score

KINDS = ("claim", "tripod")
TEXTS = "checklists.toml"

Fact = tuple[str, str]
"""The place of a fact, and what it says."""


def checklist(records: Records, kind: str, texts: Mapping[str, str]) -> str:
    """Return a filled checklist as Markdown.

    Args:
        records: See `read_records`.
        kind: `claim` or `tripod`.
        texts: Texts of the authors by number of the item; see `read_texts`.
    """
    listed, facts = _listed(kind), facts_of(records)
    rows = []
    for number, section, asked, names in listed["items"]:
        answers = [facts[name] for name in names if name in facts]
        if number in texts:
            answers.append((f"`{TEXTS}`", " ".join(texts[number].split())))
        rows.append({"number": number, "section": section, "asked": asked, "answers": answers})
    return render(
        "pneumoscan.card",
        "checklist.md",
        title=listed["title"],
        source=listed["source"],
        model=model_name(records.bundle),
        rows=rows,
        done=sum(bool(row["answers"]) for row in rows),
    )


def file_of(kind: str) -> str:
    """Return the name of the file of a checklist."""
    return str(_listed(kind)["file"])


def read_texts(path: Path, kind: str) -> dict[str, str]:
    """Return the texts of the authors by number of the item; none without the file.

    Raises:
        ConfigError: The file is not TOML, or has an unknown checklist or item, or something else than texts.
    """
    if not path.is_file():
        return {}
    given = read_toml(path)
    for name, table in given.items():
        if name not in KINDS or not isinstance(table, Mapping):
            raise ConfigError(f"{path}: there is no table {name!r}.", f"Known: {', '.join(KINDS)}.")
        known = [row[0] for row in _listed(name)["items"]]
        for number, text in table.items():
            if number not in known or not isinstance(text, str) or not text.strip():
                raise ConfigError(
                    f"{path}: {name} has no item {number!r} with a text.",
                    f"Items are {known[0]} to {known[-1]}, each with a text.",
                )
    return dict(given.get(kind, {}))


def _listed(kind: str) -> dict[str, Any]:
    text = resources.files("pneumoscan.card").joinpath(TEXTS).read_text("utf-8")
    listed: dict[str, Any] = tomllib.loads(text)[kind]
    return listed


def facts_of(records: Records) -> dict[str, Fact]:
    """Return what the records tell, by name of the fact in `checklists.toml`. A fact that no record holds is absent."""
    return {**_of_authors(records), **_of_training(records), **_of_model(records), **_of_figures(records)}


def _of_authors(records: Records) -> dict[str, Fact]:
    """Return the texts of `about.toml` that are not those of the package."""
    default, about = read_about(None), records.about
    found = {}
    for name in ("purpose", "limits", "films", "traits", "ethics", "use"):
        text = getattr(about, name)
        if text.strip() and text != getattr(default, name):
            first = " ".join(text.split())
            found[name] = ("`about.toml`: " + name, first if len(first) <= 240 else first[:239] + "…")
    if about.again.get("data") and about.again["data"] != default.again["data"]:
        found["again"] = ("`about.toml`: again", f"trained again with the films `{about.again['data']}`")
    blind = blind_of(records)
    if blind and model_name(records.bundle) in blind["evaluated"]:
        found["blind"] = ("`about.toml`: official", f"a blind evaluation of this model in `{about.official}`")
    return found


def _of_training(records: Records) -> dict[str, Fact]:
    """Return the facts about films and training."""
    spec, manifest = records.bundle.spec, records.own.manifest
    training, place = spec.training, "`model.json`: training"
    config, found = training.get("config", {}), dict[str, Fact]()
    films, patients = training.get("n_films"), training.get("n_patients")
    if films and patients:
        told = f"{films:,} films of {patients:,} patients"
        positive = training.get("n_positive")
        found["counts"] = (place, told + (f", {positive:,} PNEUMONIA" if positive else ""))
        share = training.get("val_fraction")
        if share:
            told = f"{share:.0%} of the patients, chosen with seed {training.get('split_seed', training.get('seed'))}, held out"
            found["partition"] = (place, told)
            found["disjoint"] = (place, "by patient; exact copies stay together")
    counted = manifest.get("films", {})
    if "refused" in counted:
        where = f"`{own(records, 'manifest.json')}`"
        told = f"{counted['refused']} films could not be read and were left out"
        found["refused"] = (where, told)
        flow = f"{counted['train']:,} films for training, {counted['val']:,} held out, {counted['refused']} left out"
        found["flow"] = (where, flow)
    if manifest.get("packages"):
        packages = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
        machine = ", ".join(str(value) for value in manifest.get("machine", {}).values())
        told = f"Python {manifest.get('python')}, {packages}; {machine}, {manifest.get('device')}, {manifest.get('precision')}"
        found["software"] = (f"`{own(records, 'manifest.json')}`", told)
    if config:
        shown = ", ".join(
            f"{part} ({', '.join(f'{key} {value}' for key, value in config[part].items())})"
            for part in ("optimizer", "schedule", "loss", "loop")
            if config.get(part)
        )
        found["training"] = (f"{place}.config", shown)
        if any((config.get("augmentation") or {}).values()):
            found["training"] = (f"{place}.config", f"{shown}; with augmentation")
        weights = config.get("model", {}).get("weights")
        pretrained = f"weights {weights}" if weights else "random weights"
        found["initial"] = (f"{place}.config", f"{pretrained}, seed {training.get('seed')}")
        sampling = config.get("sampling", {})
        if "balanced_classes" in sampling:
            told = "both classes equally often" if sampling["balanced_classes"] else "classes as they are"
            weighted = config.get("loss", {}).get("class_weights", "none")
            found["balance"] = (
                f"{place}.config",
                f"{told}; class weights {weighted}; thresholds weight both classes alike",
            )
    if training.get("kept_epoch"):
        told = f"epoch {training['kept_epoch']} of {training.get('epochs')}"
        found["selection"] = (place, f"{told}; temperature and thresholds on the held-out films")
        found["ensemble"] = (place, "none: one network")
    return found


def _of_model(records: Records) -> dict[str, Fact]:
    """Return the facts about the network and its output."""
    spec, place = records.bundle.spec, "`model.json`"
    pre, whole = spec.preprocessing, "the bundle"
    lungs = pre.input == "lungs"
    found: dict[str, Fact] = {
        "kind": (
            place,
            f"{spec.name}: a deep convolutional network for pneumonia in chest films, {spec.parameters:,} weights",
        ),
        "summary": ("`README.md` of the bundle", "films, network, figures, thresholds and use on one page"),
        "preprocessing": (
            f"{place}: preprocessing",
            f"grey, resized to {pre.size}×{pre.size}, normalised ({pre.normalisation})",
        ),
        "input": (
            place,
            "the pixels of the "
            + ("lungs, found by a second network" if lungs else "whole film")
            + "; no other data",
        ),
        "judged": (place, "none: the film alone, without a reader"),
        "output": (
            f"{place}: thresholds",
            f"a probability, and PNEUMONIA from {spec.threshold():.3f} on ({spec.default_operating_point}); UNSURE in a band around it",
        ),
        "computed": (whole, "`pneumoscan predict`, with ONNX Runtime"),
        "whole": (
            whole,
            "the network with its weights (`model.onnx`), preprocessing, temperature and thresholds",
        ),
        "metrics": (
            "`docs/evaluation.md`",
            "area under ROC, sensitivity, specificity, precision, F1, calibration error, Brier score",
        ),
        "uncertainty": (
            "`docs/evaluation.md`",
            "95% intervals: Wilson for shares, bootstrap over patients for areas",
        ),
        "code": (place, f"release {spec.pneumoscan_version}, commit {spec.commit or 'unknown'}"),
    }
    if lungs:
        found["part"] = (
            f"{place}: preprocessing",
            "the box of the lungs of each film; the rest is not seen"
            if pre.surroundings
            else "the aerated lung of each film; the rest is not seen",
        )
        found["poor"] = (
            f"{place}: lungs",
            "films without lungs, with one lung, cut or unusual lungs are UNSURE or NOT_A_CHEST_FILM",
        )
    elif spec.guard:
        found["poor"] = (
            f"{place}: guard",
            "films far from the training films are UNSURE or NOT_A_CHEST_FILM",
        )
    shape = spec.training.get("config", {}).get("model")
    if shape:
        found["network"] = (
            f"{place}: training.config.model",
            ", ".join(f"{key} {value}" for key, value in shape.items()),
        )
    if "activation_map" in spec.outputs:
        found["explained"] = (place, "a map of evidence whose mean is the logit")
    if spec.licence:
        told = "; ".join(f"{key}: {value}" for key, value in spec.licence.items())
        found["licence"] = (f"{place}: licence", told)
    if spec.calibration:
        before, after = (spec.calibration[name]["expected_calibration_error"] for name in ("before", "after"))
        told = f"temperature {spec.temperature:.3f} fitted on held-out films: calibration error {before:.3f} before, {after:.3f} after"
        found["temperature"] = (f"{place}: calibration", told)
    return found


def _of_figures(records: Records) -> dict[str, Fact]:
    """Return the facts about what was measured."""
    spec, metrics, found = records.bundle.spec, records.own.metrics, dict[str, Fact]()
    place = f"`{own(records)}`"
    if metrics.get("n"):
        counts = f"{metrics['n']:,} held-out films of {metrics['n_patients']:,} patients, {metrics['n_positive']:,} PNEUMONIA"
        area = f"area under ROC {score(metrics['roc_auc'])} ({between(metrics['roc_auc_ci95'])})"
        found["internal"] = (place, f"{counts}: {area}")
        rates = [
            f"{name} {score(metrics[name])} ({between(metrics[f'{name}_ci95'])})"
            for name in ("sensitivity", "specificity")
        ]
        found["accuracy"] = (place, ", ".join([area, *rates]))
        found["same"] = (place, "held-out patients of the same hospitals as in training")
        wrong = metrics.get("confusion")
        if wrong:
            told = f"{wrong['fn']} films missed and {wrong['fp']} false alarms"
            found["failures"] = (place, told + ", shown in the report of `evaluate`")
    if metrics.get("groups"):
        told = "; ".join(f"{by}, smallest {part['smallest']}" for by, part in metrics["groups"].items())
        found["groups"] = (place, f"figures by {told}")
    stress = metrics.get("stress")
    if stress:
        lowest = (stress["worst"].get("roc_auc") or {}).get("value")
        told = f"the stress test: area under ROC {score(stress['mean']['roc_auc'])} in the mean of the altered views, lowest {score(lowest)}"
        found["stress"] = (place, told)
    if records.heatmaps:
        found["heatmaps"] = (
            "`heatmaps.json`",
            "the map was checked: covering its hottest place against a random one, and other checks",
        )
    rows = [
        f"{row['films']} ({score(row['roc_auc'])}, {between(row['roc_auc_ci95'])})"
        for row in spec.left_out or ()
    ]
    if rows:
        told = f"the same training without a hospital, area under ROC there: {'; '.join(rows)}"
        found["external"] = ("`model.json`: left_out", told)
    by_site = (records.bundle.records() or {}).get("sites") or ()
    parts = [
        f"{' '.join(word for word in (row['site'], row['view'], 'against normal' if row['against'] == 'normal' else '') if word)} "
        f"{score(row['roc_auc'])}"
        for row in by_site
    ]
    if parts:
        found["hospitals"] = (
            "`records.json`: sites",
            f"area under ROC of held-out films: {'; '.join(parts)}",
        )
        found.setdefault("groups", ("`records.json`: sites", "figures of each hospital, within PA and AP"))
    return found
