"""What the model card says in words: purpose, films, network, training, ethics, versions.

A number here comes from a record, or from the publication that is cited beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from card_records import OFFICIAL, Records, read_json
from card_words import interval, listed, minutes, not_measured, own, percent, settings, source, table, three

from pneumoscan.inference.rows import model_name
from pneumoscan.inference.sites import shown_to_work

DATA = "https://doi.org/10.17632/rscbjbr9sj"
PAPER = "https://doi.org/10.1016/j.cell.2018.02.010"
PURPOSE = """\
## What it is for

It reads a frontal chest film. It answers with the probability that the film shows pneumonia, and with a coarse map of where that answer comes from.

- **Research**: a baseline with known figures, for whoever builds or studies such models.
- **Teaching**: what a network of this kind can do, and how it fails.
- **A second look**, after a radiologist has read the film, in a study that protects the patients."""

LIMITS = """\
## What it must not be used for

- **Clinical decisions.** It is no medical device, and nobody has tested it as one.
- **Triage without a human**: to send a child home, or to put a film at the end of the list.
- **Patients and hospitals other than those above**: films that look like none of them get the label UNSURE, but not every one is recognised.
- **Other views**: lateral films, CT, photographs of films.
- **Other diseases.** NORMAL means only that no sign of pneumonia was found. It says nothing of tuberculosis, effusions, fractures, tubes or tumours, and it does not tell bacteria from viruses.

## How to use it

    pneumoscan predict film.jpeg --heatmaps maps/

```python
from pneumoscan import PneumoniaClassifier

model = PneumoniaClassifier.from_pretrained()
print(model.predict_proba("film.jpeg"))  # NORMAL, PNEUMONIA
```

The model comes with the package (`pip install pneumoscan`). [docs/bundle.md](docs/bundle.md) explains the row that is printed."""

ETHICS = """\
## Ethical considerations

- **Few hospitals.** How it does on films of a hospital that is not named above is not known before it is measured there (`pneumoscan evaluate`, `pneumoscan adapt`).
- **Sex and age of each child are not recorded in the set.** Whether it works as well for girls as for boys, or at one year as at five, cannot be known from it.
- **Most films of the set show pneumonia.** Where fewer children are ill, more of its calls are false.
- **A wrong reason can give a right answer.** Look at the map: evidence on a letter, at the border or outside the body is a warning.
- **People lean on machines** (Goddard et al., JAMIA 19 (2012) 121–127). A confident NORMAL can make a reader overlook what he would have seen, and a missed pneumonia harms a child.
- **Privacy**: films are read on your machine. Nothing is sent anywhere."""

_SHOWN: dict[str, tuple[str, ...] | None] = {
    "augmentation": None,
    "optimizer": ("name", "learning_rate", "weight_decay"),
    "schedule": ("name", "warmup"),
    "loss": ("class_weights", "label_smoothing"),
    "loop": ("epochs", "batch_size", "micro_batch", "precision", "ema_decay", "restore_best"),
}


def front_matter(records: Records) -> list[str]:
    weights = records.bundle.spec.licence.get("weights", "other")
    tags = ("chest-x-ray", "pneumonia", "paediatrics", "onnx", "research-only")
    metrics = ("roc_auc", "accuracy", "recall", "specificity", "precision", "f1", "brier_score")
    return [
        "---",
        f"license: {weights.lower()}",
        "library_name: pneumoscan",
        "pipeline_tag: image-classification",
        f"tags: [{', '.join(tags)}]",
        f"metrics: [{', '.join(metrics)}]",
        "---",
    ]


def title(records: Records) -> list[str]:
    spec = records.bundle.spec
    lines = [
        f"# Model card: {spec.name}",
        "",
        "**Research use only. Not a medical device.**",
        "",
        "`python benchmarks/model_card.py` writes this page from the `model.json` of the bundle that comes with the package and from "
        f"the records in `{records.where}`. Below the figures stands the file that they come from.",
    ]
    if spec.training.get("synthetic"):
        lines += ["", "**This model was trained on synthetic films: it is no judge of real ones.**"]
    return lines


def sites(records: Records) -> list[str]:
    spec = records.bundle.spec
    lines = ["## For whom it is shown to work", "", shown_to_work(spec)]
    if not spec.sites:
        return lines
    rows = [
        (
            facts["whom"],
            f"{facts['films']:,}",
            interval(facts["roc_auc"], facts.get("roc_auc_ci95")),
            three(facts.get("roc_auc_left_out")),
            percent(facts.get("answered"), 1),
            percent(facts.get("accuracy_answered"), 1),
            percent(facts.get("confident_and_wrong"), 1),
            percent(facts.get("lost"), 1),
            facts["source"],
        )
        for facts in spec.sites.values()
    ]
    head = (
        "films of", "films", "area under ROC (95%)", "… of the networks before they saw any of these films", "answered",
        "of these right", "answered wrongly, of all", "own films that it does not recognise", "measured by",
    )  # fmt: skip
    return [*lines, "", *table(head, rows), *source("model.json")]


def blind(records: Records) -> list[str]:
    """Tell how models of the project did on the official test films, and whether this one is among them."""
    lines = ["## Judged blind", ""]
    told = read_json(OFFICIAL / "record.json") if (OFFICIAL / "record.json").is_file() else None
    if told is None:
        return [*lines, *not_measured("The official test films", "`results/official/record.json`")]
    rows = []
    for look in told["looks"]:
        m = read_json(OFFICIAL / look["folder"] / "metrics.json")
        right = m["confusion"]["tp"] + m["confusion"]["tn"]
        rows.append(
            (
                look["model"],
                f"{right} of {m['n']}, {percent(m['accuracy'], 1)}",
                interval(m["roc_auc"], m["roc_auc_ci95"]),
                three(m["sensitivity"]),
                three(m["specificity"]),
            )
        )
    now = model_name(records.bundle)
    judged = any(look["model"] == now for look in told["looks"])
    state = "" if judged else f" **{now}, of which this card is, has not been judged on them.**"
    elsewhere = [
        f"- {one['films']}: area under ROC {interval(one['roc_auc'], one['roc_auc_ci95'])}, {one['warned']} of {one['n']:,} films with a warning ({one['model']})."
        for one in told["elsewhere"]
    ]
    return [
        *lines,
        "The 624 official test films were judged by somebody else, after every choice had been made on films of `train`."
        + state,
        "",
        *table(
            ("model", "right at its own threshold", "area under ROC (95%)", "sensitivity", "specificity"),
            rows,
        ),
        *source("results/official"),
        "",
        "Films of adults at other hospitals, judged in the same way:",
        "",
        *elsewhere,
    ]


def films(records: Records) -> list[str]:
    facts = records.bundle.spec.training
    count, positive = facts.get("n_films") or 0, facts.get("n_positive") or 0
    seen = records.own.manifest.get("films", {})
    return [
        "## The films it learnt from",
        "",
        "D. Kermany, K. Zhang, M. Goldbaum, *Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification*, "
        f"Mendeley Data, [doi 10.17632/rscbjbr9sj]({DATA}), licence [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/); "
        f"D. Kermany et al., [Cell 172 (2018) 1122–1131]({PAPER}). The films are not in this repository.",
        "",
        "- **Who**: children of one to five years at Guangzhou Women and Children's Medical Center, Guangzhou. Frontal "
        "(anterior-posterior) films from routine care.",
        "- **Labels**: two physicians graded each film after bad scans had been removed; a third checked the test films. A label is "
        "what they saw, no culture and no CT.",
        "- **Published for training**: 5,232 films, 1,349 normal and 3,883 with pneumonia, of these 2,538 bacterial and 1,345 viral "
        "(Cell 2018). The common copy of the set parts 16 of them off as `val`; they were not trained on.",
        f"- **Used here**: {count:,} films of {facts.get('n_patients') or 0:,} patients, {positive:,} ({percent(positive / max(1, count))}) with pneumonia. "
        f"{seen.get('train', 0):,} were trained on, {seen.get('val', 0):,} held out by patient, {seen.get('refused', 0)} could not be read.",
        *source(own(records, "manifest.json"), "model.json"),
    ]


def traits(records: Records) -> list[str]:
    lines = [
        "## What is wrong with the films",
        "",
        "Healthy and ill children were not filmed alike, so the look of a film gives its label away: how close it is cut, how bright "
        "it is, what stands at its border. A network can score high on this set without reading the lungs.",
        "",
    ]
    found = records.shortcuts
    if not found:
        return [
            *lines,
            *not_measured(
                "How well the label can be guessed without the lungs", "such passage in `docs/log.md`"
            ),
        ]
    rows = [
        ("a border of the film, without its middle", found["border"]),
        ("a thumbnail of 20×20 pixels", found["thumbnail"]),
        ("the size of the file", found["file"]),
        ("the mean brightness", found["brightness"]),
    ]
    head = ("label guessed from", f"area under ROC, over {found['folds']} folds of patients")
    return [*lines, *table(head, rows), *source("docs/log.md")]


def network(records: Records) -> list[str]:
    spec = records.bundle.spec
    size, shape = spec.preprocessing.size, dict(spec.training.get("config", {}).get("model", {}))
    mirrored = shape.pop("mirrored", False)
    members = spec.training.get("members", ())
    names = [f"`{one['preset']}`" for one in members]
    made = (
        f"the mean of {len(members)} networks ({listed(names)}), and heads for the films of other sites"
        if members
        else f"{settings(shape)}, trained from scratch"
    )
    lines = [
        "## The network",
        "",
        f"{spec.parameters:,} parameters: {made}. One ONNX file, read by ONNX Runtime on a CPU.",
        "",
        f"- **Input**: the film grey, squashed to {size}×{size} (its aspect is not kept), normalised (`{spec.preprocessing.normalisation}`, mean "
        f"{spec.preprocessing.mean:g}, deviation {spec.preprocessing.std:g}).",
        f"- **Outputs**: {', '.join(f'`{name}`' for name in spec.outputs)}; probability = sigmoid(logit / {spec.temperature:.3f}).",
    ]
    if "activation_map" in spec.outputs:
        lines.append("- **Map**: its mean is the logit. So it is the answer itself, and no guess about it.")
    if mirrored and not members:
        lines.append(
            "- **Mirrored reading**: each film is read as it is and mirrored, and the maps are averaged, in the graph."
        )
    if spec.guard:
        lines.append(
            "- **Guard**: `distance` tells how far a film looks from the training films, in the same graph."
        )
    return [*lines, *source("model.json")]


def training(records: Records) -> list[str]:
    facts, shipped = records.bundle.spec.training, records.own
    rows = [
        (part, settings(_shown(facts.get("config", {}).get(part, {}), keys))) for part, keys in _SHOWN.items()
    ]
    if members := facts.get("members"):
        return _members(records, members)
    machine, all_seeds = shipped.manifest.get("machine", {}), [record.seed for record in records.seeds]
    recorded = f"seeds {listed(all_seeds)} are" if len(all_seeds) > 1 else f"seed {all_seeds[0]} alone is"
    return [
        "## How it was trained",
        "",
        f"Preset `{facts.get('preset')}`: {len(shipped.history)} epochs, {minutes(shipped)} of training steps on {shipped.manifest.get('threads')} threads "
        f"({machine.get('processor')}, {machine.get('cores')} cores). The weights "
        f"are those of epoch {facts.get('kept_epoch')}. Shipped is seed {shipped.seed}; {recorded} recorded.",
        "",
        *table(("part", "settings"), rows),
        *source(own(records, "history.jsonl"), own(records, "manifest.json"), "model.json"),
    ]


def _members(records: Records, members: Sequence[Mapping[str, Any]]) -> list[str]:
    spent: dict[str, float] = {}
    for row in records.own.history:
        spent[row["member"]] = spent.get(row["member"], 0) + row["seconds"] / 60
    rows = [
        (
            f"`{one['preset']}`",
            str(one["seed"]),
            str(one["epochs"]),
            f"{spent.get(one['preset'], 0):.1f} minutes",
        )
        for one in members
    ]
    fitted = records.bundle.spec.training.get("fitted_to", {})
    heads = [
        f"The heads for `{name}` were fitted to {facts['films']} films, {facts['n_positive']} of them with pneumonia; the networks themselves saw none of these."
        for name, facts in fitted.items()
    ]
    return [
        "## How it was trained",
        "",
        "The networks were trained one by one on the same films, with the same patients held out, and combined by `pneumoscan combine`. "
        + " ".join(heads),
        "",
        *table(("preset", "seed", "epochs", "training steps, 2 cores"), rows),
        *source(own(records, "history.jsonl"), "model.json"),
    ]


def _shown(values: dict[str, Any], keys: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the settings that are on; `erase_area` is off where `erase` is."""
    off = {name for name, value in values.items() if value in (None, 0)}
    parents = {name: {other for other in off if name.startswith(f"{other}_")} for name in values}
    return {
        name: values[name]
        for name in keys or values
        if name in values and name not in off and not parents[name]
    }


def again(records: Records) -> list[str]:
    facts = records.bundle.spec.training
    preset, members = facts.get("preset"), facts.get("members", ())
    train = [
        f"    pneumoscan train --preset {preset} --data chest_xray --out runs/again --set loop.seed={records.own.seed}"
    ]
    if members:
        runs = [f"runs/{one['preset']}" for one in members]
        train = [
            f"    pneumoscan train --preset {one['preset']} --data chest_xray --out {run} --set loop.seed={one['seed']}"
            for one, run in zip(members, runs, strict=True)
        ]
        places = "--data children=chest_xray --data adults=nih_chest/films.csv"
        train += [f"    pneumoscan combine {' '.join(runs)} {places} --out runs/again"]
    return [
        "## Train it again, or adapt it",
        "",
        "    pneumoscan data fetch chest_xray",
        *train,
        "    pneumoscan evaluate runs/again --data chest_xray --split held-out --stress --out evaluation",
        "    pneumoscan adapt my-films/ --out my-model    # judges and re-fits it on 50 to 200 labelled films of your own",
        "",
        f"The training steps took {minutes(records.own)} here; decoding, validation and export come on top. More: [docs/training.md](docs/training.md), "
        "[docs/adapt.md](docs/adapt.md).",
    ]


def cost(records: Records) -> list[str]:
    timed = [record for record in records.seeds if record.minutes is not None]
    hours = sum((record.minutes or 0) * record.manifest.get("threads", 0) for record in timed) / 60
    trained = f"{len(timed)} recorded trainings" if len(timed) > 1 else "The recorded training"
    lines = [
        "## What it costs",
        "",
        f"{trained} took {hours:.1f} core-hours of training steps on a CPU, without a graphics card. The experiments before, and the "
        "electricity, were not measured.",
        *source(*(f"{records.where}/seed-{record.seed}/history.jsonl" for record in timed)),
        "",
    ]
    record = records.latency
    if record is None:
        return [*lines, *not_measured("The time to read a film", f"`{records.where}/latency.json`")]
    return [
        *lines,
        f"Reading, medians ({record.get('machine', {}).get('processor', 'processor not recorded')}):",
        "",
        *(f"- {what}: {value:.2f}" for what, value in record["medians"].items()),
        *source(f"{records.where}/latency.json"),
    ]


def versions(records: Records) -> list[str]:
    spec, manifest = records.bundle.spec, records.own.manifest
    packages = ", ".join(f"{name} {version}" for name, version in manifest.get("packages", {}).items())
    size = (records.bundle.path / "model.onnx").stat().st_size
    rows = [
        (
            "exported",
            f"{spec.created}, pneumoscan {spec.pneumoscan_version}, commit `{spec.commit or 'unknown'}`",
        ),
        (
            "trained",
            f"{manifest.get('created')}, commit `{manifest.get('commit') or 'unknown'}`, Python {manifest.get('python')}",
        ),
        ("with", packages),
        ("films, fingerprint", f"`{spec.training.get('data_sha256')}`"),
        ("`model.onnx`", f"{size / 1e6:.2f} MB, SHA-256 `{spec.files['model.onnx']}`"),
        ("licence", "; ".join(f"{what}: {text}" for what, text in spec.licence.items())),
    ]
    return ["## Versions", "", *table(("", ""), rows), *source("model.json", own(records, "manifest.json"))]
