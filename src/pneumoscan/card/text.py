"""The sections of the model card about purpose, sites, films and ethics."""

from pneumoscan.card.markdown import interval, not_measured, own, percent, source, table, three
from pneumoscan.card.records import Records
from pneumoscan.classifier import shown_to_work


def front_matter(records: Records) -> list[str]:
    """Return the metadata that model hubs read."""
    weights = records.bundle.spec.licence.get("weights", "other")
    metrics = ("roc_auc", "accuracy", "recall", "specificity", "precision", "f1", "brier_score")
    return [
        "---",
        f"license: {weights.lower()}",
        "library_name: pneumoscan",
        "pipeline_tag: image-classification",
        f"tags: [{', '.join(records.about.tags)}]",
        f"metrics: [{', '.join(metrics)}]",
        "---",
    ]


def title(records: Records) -> list[str]:
    """Return the heading and the origin of the figures."""
    spec = records.bundle.spec
    others = f" and the records in `{records.where}`" if records.where else ""
    lines = [
        f"# Model card: {spec.name}",
        "",
        "**Research use only. Not a medical device.**",
        "",
        f"`pneumoscan card` writes this page from the `model.json` of the bundle{others}. The source of all figures is named "
        "below them.",
    ]
    if spec.training.get("synthetic"):
        lines += ["", "**This model was trained on synthetic films. It says nothing about real ones.**"]
    return lines


def purpose(records: Records) -> list[str]:
    """Return the intended use."""
    return ["## Intended use", "", records.about.purpose]


def limits(records: Records) -> list[str]:
    """Return the uses that are out of scope, and how to use the model."""
    about = records.about
    return ["## Out of scope", "", about.limits, "", "## How to use it", "", about.use]


def ethics(records: Records) -> list[str]:
    """Return the ethical considerations."""
    return ["## Ethical considerations", "", records.about.ethics]


def sites(records: Records) -> list[str]:
    """Return the patients for whom the model is shown to work, by site."""
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
        "films of", "films", "area under ROC (95%)", "area of the networks without the head", "answered",
        "answers that are correct", "wrong answers, of all films", "films not recognised", "measured by",
    )  # fmt: skip
    told = [place for place in range(len(head)) if any(row[place] != "–" for row in rows)]
    return [
        *lines,
        "",
        *table([head[place] for place in told], [[row[place] for place in told] for row in rows]),
        *source("model.json"),
    ]


def withdrawn(records: Records) -> list[str]:
    """Return what was claimed before and is withdrawn, if anything."""
    words = records.about.withdrawn
    return ["## A claim that is withdrawn", "", words] if words else []


def films(records: Records) -> list[str]:
    """Return the origin and number of the training films."""
    facts = records.bundle.spec.training
    count, positive = facts.get("n_films") or 0, facts.get("n_positive") or 0
    seen = records.own.manifest.get("films", {})
    return [
        "## Training films",
        "",
        records.about.films,
        *([] if records.about.films.splitlines()[-1].startswith("- ") else [""]),
        f"- **Used**: {count:,} films of {facts.get('n_patients') or 0:,} patients, {positive:,} ({percent(positive / max(1, count))}) with pneumonia. "
        + (
            f"{seen.get('train', 0):,} are training films, {seen.get('val', 0):,} were held out by patient, {seen.get('refused', 0)} could not be read."
            if seen
            else f"{facts.get('val_fraction') or 0:.0%} were held out by patient."
        ),
        *source(own(records, "manifest.json"), "model.json"),
    ]


def traits(records: Records) -> list[str]:
    """Return how well the label can be predicted without the lungs."""
    found = records.about.shortcuts
    lines = ["## Biases of the films", "", records.about.traits, ""]
    if not found:
        what = "How well the label can be predicted without the lungs"
        return [*lines, *not_measured(what, "`shortcuts` in `about.toml`")]
    head = ("label predicted from", f"area under ROC, {found['folds']}-fold cross-validation by patient")
    rows = [(what, three(area)) for what, area in found["rows"]]
    return [*lines, *table(head, rows), *source(found["source"])]
