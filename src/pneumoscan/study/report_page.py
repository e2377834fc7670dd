"""The report of a study as one HTML page that opens offline: it loads no script, font or image from elsewhere."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from pneumoscan.pages import score, svg_uri
from pneumoscan.study.compare import COMPARED, PRIMARY
from pneumoscan.study.evaluation import RESAMPLES
from pneumoscan.study.forecast import in_words
from pneumoscan.study.plan import BASELINE
from pneumoscan.study.report_tables import (
    best_table,
    count,
    difference_cell,
    epoch_table,
    numbers,
    peak_table,
    reasons,
    safe,
    stop_table,
    threshold_table,
)
from pneumoscan.study.results import Findings, SectionFindings, VariantFindings
from pneumoscan.study.trial_records import TrialRecord
from pneumoscan.study.trials import setting

Graphs = Mapping[str, bytes]
_SECTION = "section-"


def build_page(found: Findings, graphs: Graphs) -> str:
    """Return the page as HTML. Text from files and names is escaped.

    Args:
        found: The results.
        graphs: SVG by name: `precision_recall`; for each section `convergence-NAME`, and `differences-NAME`,
            `epochs-NAME` if there is something to draw.
    """
    template = Template(files("pneumoscan.study").joinpath("report.html").read_text("utf-8"))
    parts = {"title": found.plan.study.title, "about": found.plan.study.about, "summary": _summary(found)}
    blocks = {
        "style": files("pneumoscan").joinpath("templates/style.css").read_text("utf-8"),
        "cautions": _cautions(found),
        "overview": _overview(found),
        "rules": _rules(found),
        "baseline": _baseline(found, graphs),
        "sections": "".join(_section(found, section, graphs) for section in found.sections),
        "provenance": _provenance(found),
    }
    text = template.substitute({key: safe(value) for key, value in parts.items()} | blocks)
    return text.encode("utf-8", "backslashreplace").decode()


def _summary(found: Findings) -> str:
    facts, records = found.facts, found.records()
    spent = sum(sum(record.origin.get("seconds", ())) for record in records)
    evaluated = sum(record.origin.get("judging_seconds", 0) for record in records)
    return (
        f"{len(records)} trials of {len({record.key for record in records})} configurations, "
        f"{sum(len(record.history) for record in records):,} epochs, {in_words(spent + evaluated)} of computing. "
        f"{facts.train:,} training films; {facts.held_out:,} films of {facts.patients:,} other patients held out, "
        f"{int(found.y_true.sum()):,} of them with pneumonia."
    )


def _cautions(found: Findings) -> str:
    records = found.records()
    missing = sorted({name for _, variant in found.variants() for name in variant.missing})
    failed = [record for record in records if record.status == "failed"]
    diverged = sum(record.status == "diverged" for record in records)
    said = []
    if found.facts.synthetic:
        said.append(
            "These films are synthetic: the figures show that the program works. They say nothing about patients."
        )
    if missing:
        said.append(
            f"{len(missing)} planned trials have not ended, so conclusions that need them are missing."
        )
    said += [f"Trial {record.name} failed: {record.reason}" for record in failed]
    if diverged:
        said.append(
            f"{count(diverged, 'trial')} diverged: the loss was no longer a finite number. This is a result, and is listed in its "
            "section."
        )
    said.append(
        "Epochs, best variants and best thresholds were chosen on the films that the figures come from, so all figures are "
        "somewhat too good. No film of the test split was read."
    )
    items = "".join(f"<li>{safe(text)}</li>" for text in said)
    return f'<section class="cautions"><h2>Read this first</h2><ul>{items}</ul></section>'


def _overview(found: Findings) -> str:
    rows = []
    for section in found.sections:
        best = section.best
        cells = [f'<a href="#{_SECTION}{safe(section.section.name)}">{safe(section.section.title)}</a>']
        if best is None:
            cells += ["no finished trial", "", "", "", ""]
        else:
            cells += [safe(best.title), str(len(best.done)), score(best.mean(TrialRecord.score))]
            cells += [difference_cell(best.differences.get(name), best) for name in reversed(PRIMARY)]
        counts = [variant.differences.get("stress_roc_auc") for variant in section.variants]
        tally = [each.verdict for each in counts if each is not None]
        words = [f"{tally.count(word)} {word}" for word in dict.fromkeys(tally)]
        cells.append(safe(", ".join(words) or "–"))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        "<table><thead><tr><th>section</th><th>best variant</th><th>seeds</th><th>mean AUC, stress test</th>"
        "<th>difference to the baseline</th><th>AUC, unchanged films: difference</th>"
        "<th>all its variants, stress test</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _rules(found: Findings) -> str:
    compared = {
        (variant.trial.key, name)
        for _, variant in found.variants()
        for name in PRIMARY
        if name in variant.differences
    }
    factors = {COMPARED[name]: found.comparison.seed_factor[name] for name in PRIMARY}
    known = [
        f"{100 * value:.0f}% of the error ({title})" for title, value in factors.items() if value is not None
    ]
    spread = (
        f"pooled over every configuration with several seeds it is {' and '.join(known)}."
        if known
        else "no configuration has two seeds yet, so the intervals do NOT include it and are too narrow."
    )
    lines = (
        "Unchanged: the held-out films as they are. Stress test: the same films in ten views (cropped to 85 and 70%, padded by "
        "10 and 20%, gamma 0.6 and 1.7, border masked, blurred, mirrored, narrowed); mean and lowest are over the views. "
        "All labels are at probability 0.5. The best variant of a section is the one with the highest mean AUC in the stress "
        "test with seed 0 (on unchanged films all networks have high figures); its figures are means over all its seeds.",
        "A difference is the mean over the seeds of the variant minus that of the baseline. Its 95% interval covers other "
        f"patients ({RESAMPLES} resamples of the held-out patients, the same for both) and other seeds: "
        "the spread over seeds is assumed proportional to the error 1 − AUC, and " + spread,
        "Better or worse: the interval excludes 0. No detectable difference: it includes 0, which does not mean that there is no "
        f"difference. Of {len(compared)} such conclusions, about {0.05 * len(compared):.2g} are wrong by "
        "chance alone. If the best variant was confirmed with more seeds, they include the seed by which it was chosen.",
        "films/s: the median over the epochs of a trial, measured while it ran. It includes other load of the machine, "
        "so only large differences are meaningful.",
    )
    return "".join(f'<p class="note">{safe(line)}</p>' for line in lines)


def _baseline(found: Findings, graphs: Graphs) -> str:
    base = found.baseline
    section = found.plan.baseline
    opening = (
        f'<section id="{_SECTION}{BASELINE}"><h2>{safe(section.title)}</h2><p class="question">{safe(section.question)}</p>'
        f"{reasons([base])}"
    )
    if not base.done:
        return f"{opening}<p>No trial of the baseline has finished.</p></section>"
    curve = "Precision against recall of seed 0, with the F1 score at each of the 17 thresholds; dashed: equal F1."
    picture = graph(graphs, "precision_recall", curve) if "precision_recall" in graphs else ""
    return (
        f"{opening}{numbers([base], base)}<h3>Precision and recall</h3>{picture}"
        f"<h3>The seventeen thresholds</h3>{threshold_table(base)}"
        f"<h3>Convergence</h3>{graph(graphs, f'convergence-{BASELINE}', _about_curves([base], found))}</section>"
    )


def _section(found: Findings, section: SectionFindings, graphs: Graphs) -> str:
    plan, name = section.section, section.section.name
    parts = [
        f'<section id="{_SECTION}{safe(name)}"><h2>{safe(plan.title)}</h2><p class="question">{safe(plan.question)}</p>',
        reasons(section.variants),
        "<h3>Convergence</h3>",
        graph(graphs, f"convergence-{name}", _about_curves(section.variants, found)),
    ]
    if f"epochs-{name}" in graphs:
        epochs = ", ".join(str(epoch) for epoch in plan.reads_epochs)
        about = f"From one run of seed 0 each, after epochs {epochs}; a gap means that the trial had diverged. Single outliers may be outside."
        parts += [
            "<h3>Learning rate and epochs</h3>" if "rate" in plan.reads_setting else "<h3>By epoch</h3>",
            graph(graphs, f"epochs-{name}", about),
            epoch_table(section),
        ]
    if plan.reads_patience:
        parts += ["<h3>After the best epoch</h3>", peak_table(section), stop_table(section)]
    parts += [
        "<h3>Figures</h3>",
        f'<div class="wide">{numbers([found.baseline, *section.variants], found.baseline)}</div>',
    ]
    bests = section.bests
    if plan.confirm_best_by and len(bests) > 1:
        ours = str(setting(found.plan.baseline_config(), plan.confirm_best_by))
        reference = bests.get(ours) or next(iter(bests.values()))
        parts += [
            "<h3>The best of each, compared</h3>",
            f'<div class="wide">{best_table(section, reference, found.comparison)}</div>',
        ]
    if f"sites-{name}" in graphs:
        about = (
            "Area under ROC by site: a dot per seed, a bar at the mean. Red: the site was left out of training, and all its "
            "films are evaluated. Blue: films of held-out patients of a site in training. The dashed line is chance. The other "
            "figures of this section combine the held-out films of all sites."
        )
        parts += ["<h3>By site</h3>", graph(graphs, f"sites-{name}", about)]
    if f"differences-{name}" in graphs:
        about = (
            "Differences to the baseline with 95% intervals; the number of seeds is in brackets. Triangles: better or "
            "worse; dots: no detectable difference."
        )
        parts.append(graph(graphs, f"differences-{name}", about))
    return "".join(parts) + "</section>"


def _about_curves(variants: Sequence[VariantFindings], found: Findings) -> str:
    several = any(len(variant.records) > 1 for variant in (*variants, found.baseline))
    band = " Lines are means over seeds, bands range from minimum to maximum." if several else ""
    dotted = "" if variants[0] is found.baseline else " Dotted: the baseline."
    return (
        "Training figures are computed while the weights change and with augmentation; accuracies are at probability 0.5."
        f"{band}{dotted} Single outlying epochs may be outside."
    )


def _provenance(found: Findings) -> str:
    facts = found.facts
    machines, software = set(), set()
    for record in found.records():
        origin = record.origin
        machines.add(f"{origin['machine']['processor']}, {origin['machine']['cores']} cores")
        packages = ", ".join(f"{name} {version}" for name, version in origin["packages"].items() if version)
        software.add(
            f"pneumoscan {origin['pneumoscan']} ({origin['commit'] or 'no commit'}), Python {origin['python']}, {packages}"
        )
    machine = facts.conditions.machine
    entries = {
        "study": found.plan.study.name,
        "preset": found.plan.study.preset,
        "data SHA-256": facts.conditions.data_sha256,
        "hold-out SHA-256": facts.conditions.held_out_sha256,
        "each trial uses": f"{machine.worker_threads} worker threads in {machine.precision} on {machine.device}",
        "machines": "; ".join(sorted(machines)),
        "software": "; ".join(sorted(software)),
    }
    return "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in entries.items() if value)


def graph(graphs: Graphs, name: str, caption: str) -> str:
    """Return one of the SVGs as a figure with its caption."""
    return (
        f'<figure class="{safe(name)}"><img alt="{safe(caption)}" src="{svg_uri(graphs[name])}">'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )
