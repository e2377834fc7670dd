"""What people say of a model in its card: purpose, films, blind evaluations, what not to do."""

from pneumoscan.card.markdown import (
    interval,
    not_measured,
    own,
    percent,
    source,
    table,
    three,
)
from pneumoscan.card.records import Records, read_json
from pneumoscan.inference.rows import model_name
from pneumoscan.inference.sites import shown_to_work


def front_matter(records: Records) -> list[str]:
    """Return the table that model hubs read."""
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
    """Return the heading and where the figures come from."""
    spec = records.bundle.spec
    told = f" and from the records in `{records.where}`" if records.where else ""
    lines = [
        f"# Model card: {spec.name}",
        "",
        "**Research use only. Not a medical device.**",
        "",
        f"`pneumoscan card` writes this page from the `model.json` of the bundle{told}. Below the figures stands the file that "
        "they come from.",
    ]
    if spec.training.get("synthetic"):
        lines += ["", "**This model was trained on synthetic films: it is no judge of real ones.**"]
    return lines


def purpose(records: Records) -> list[str]:
    """Tell what the model is for."""
    return ["## What it is for", "", records.about.purpose]


def limits(records: Records) -> list[str]:
    """Tell what the model must not be used for, and how to use it."""
    about = records.about
    return ["## What it must not be used for", "", about.limits, "", "## How to use it", "", about.use]


def ethics(records: Records) -> list[str]:
    """Tell the ethical considerations."""
    return ["## Ethical considerations", "", records.about.ethics]


def sites(records: Records) -> list[str]:
    """Tell for whom the model is shown to work, site by site."""
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
    folder = records.about.official_folder
    if folder is None:
        return []
    lines, told = ["## Judged blind", ""], read_json(folder / "record.json")
    rows = []
    for look in told["looks"]:
        m = read_json(folder / look["folder"] / "metrics.json")
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
    """Tell whose films the model learnt from."""
    facts = records.bundle.spec.training
    count, positive = facts.get("n_films") or 0, facts.get("n_positive") or 0
    seen = records.own.manifest.get("films", {})
    return [
        "## The films it learnt from",
        "",
        records.about.films,
        *([] if records.about.films.splitlines()[-1].startswith("- ") else [""]),
        f"- **Used here**: {count:,} films of {facts.get('n_patients') or 0:,} patients, {positive:,} ({percent(positive / max(1, count))}) with pneumonia. "
        f"{seen.get('train', 0):,} were trained on, {seen.get('val', 0):,} held out by patient, {seen.get('refused', 0)} could not be read.",
        *source(own(records, "manifest.json"), "model.json"),
    ]


def traits(records: Records) -> list[str]:
    """Tell how well the label can be guessed without the lungs."""
    found = records.about.shortcuts
    lines = ["## What is wrong with the films", "", records.about.traits, ""]
    if not found:
        what = "How well the label can be guessed without the lungs"
        return [*lines, *not_measured(what, "`shortcuts` in `about.toml`")]
    head = ("label guessed from", f"area under ROC, over {found['folds']} folds of patients")
    rows = [(what, three(area)) for what, area in found["rows"]]
    return [*lines, *table(head, rows), *source(found["source"])]
