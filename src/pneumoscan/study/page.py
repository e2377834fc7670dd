"""The study's report as one HTML page that opens offline: no script, no font, no picture from anywhere else."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from pneumoscan.evaluation.markup import graph, safe, score
from pneumoscan.study.compare import COMPARED, PRIMARY
from pneumoscan.study.estimate import in_words
from pneumoscan.study.evaluation import RESAMPLES
from pneumoscan.study.findings import Findings, SectionFindings, VariantFindings
from pneumoscan.study.page_tables import (
    best_table,
    count,
    difference_cell,
    epoch_table,
    numbers,
    peak_table,
    reasons,
    stop_table,
    threshold_table,
)
from pneumoscan.study.plan import BASELINE
from pneumoscan.study.records import TrialRecord
from pneumoscan.study.trials import setting

Graphs = Mapping[str, bytes]
_SECTION = "section-"


def build_page(found: Findings, graphs: Graphs) -> str:
    """Return the page as HTML; whatever came from files or names is escaped.

    Args:
        found: What the records say.
        graphs: SVG by name: `precision_recall`; for each section `convergence-NAME`, and `differences-NAME`,
            `epochs-NAME` where there is something to draw.
    """
    template = Template(files("pneumoscan.study").joinpath("report.html").read_text("utf-8"))
    parts = {"title": found.plan.study.title, "about": found.plan.study.about, "summary": _summary(found)}
    blocks = {
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
    judged = sum(record.origin.get("judging_seconds", 0) for record in records)
    return (
        f"{len(records)} trials of {len({record.key for record in records})} configurations, "
        f"{sum(len(record.history) for record in records):,} epochs, {in_words(spent + judged)} of computing. "
        f"{facts.train:,} films trained on, {facts.held_out:,} films of {facts.patients:,} other patients held out; "
        f"{int(found.y_true.sum()):,} of these show pneumonia."
    )


def _cautions(found: Findings) -> str:
    records = found.records()
    missing = sorted({name for _, variant in found.variants() for name in variant.missing})
    failed = [record for record in records if record.status == "failed"]
    diverged = sum(record.status == "diverged" for record in records)
    said = []
    if found.facts.synthetic:
        said.append(
            "These films are synthetic: the figures say that the program works, nothing about any patient."
        )
    if missing:
        said.append(f"{len(missing)} planned trials have not ended; what rests on them is open.")
    said += [f"Trial {record.name} failed: {record.reason}" for record in failed]
    if diverged:
        said.append(
            f"{count(diverged, 'trial')} diverged: the loss was no longer a number. That is a result, and told where it "
            "stands."
        )
    said.append(
        "Epochs, best variants and best thresholds were chosen on the films that the figures are of, so all of them "
        "flatter a little. No film of the test split was read."
    )
    items = "".join(f"<li>{safe(text)}</li>" for text in said)
    return f'<section class="cautions"><h2>Read this first</h2><ul>{items}</ul></section>'


def _overview(found: Findings) -> str:
    rows = []
    for section in found.sections:
        best = section.best
        cells = [f'<a href="#{_SECTION}{safe(section.section.name)}">{safe(section.section.title)}</a>']
        if best is None:
            cells += ["no trial is done", "", "", "", ""]
        else:
            cells += [safe(best.title), str(len(best.done)), score(best.mean(TrialRecord.score))]
            cells += [difference_cell(best.differences.get(name), best) for name in reversed(PRIMARY)]
        counts = [variant.differences.get("stress_roc_auc") for variant in section.variants]
        tally = [each.verdict for each in counts if each is not None]
        words = [f"{tally.count(word)} {word}" for word in dict.fromkeys(tally)]
        cells.append(safe(", ".join(words) or "–"))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        "<table><thead><tr><th>section</th><th>best of it</th><th>seeds</th><th>mean AUC, seen differently</th>"
        "<th>difference to the baseline</th><th>AUC as they are, difference</th>"
        "<th>all its variants, seen differently</th></tr></thead>"
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
        else "no configuration has two seeds yet, so it is NOT in the intervals, and they are too narrow."
    )
    lines = (
        "As they are: the held-out films. Seen differently: the same films in ten views (cropped to 85 and 70%, padded by "
        "10 and 20%, gamma 0.6 and 1.7, border masked, blurred, mirrored, narrowed); mean and worst are over the views. "
        "Calls are at probability 0.5 throughout. The best of a section is the variant with the highest mean AUC seen "
        "differently at seed 0 (films as they are flatter every network); its figures are means over all its seeds.",
        "A difference is the mean over the variant's seeds minus that of the baseline. Its 95% interval holds both what "
        f"other patients ({RESAMPLES} resamples of the held-out patients, the same for both) and what other seeds would "
        "give: the spread over seeds is taken as proportional to the error 1 − AUC, and " + spread,
        "Better or worse: the interval leaves 0 out. No detectable difference: it does not; that is not the same as no "
        f"difference. Of {len(compared)} such verdicts about {0.05 * len(compared):.2g} would go beyond their interval by "
        "chance alone. Where the best variant was confirmed with more seeds, the seed that it was chosen by is among them.",
        "films/s: the median over a trial's epochs, as it was measured while it ran. Whatever else the machine did in those "
        "hours is in it, so only large differences mean something.",
    )
    return "".join(f'<p class="note">{safe(line)}</p>' for line in lines)


def _baseline(found: Findings, graphs: Graphs) -> str:
    base = found.baseline
    told = found.plan.baseline
    opening = (
        f'<section id="{_SECTION}{BASELINE}"><h2>{safe(told.title)}</h2><p class="question">{safe(told.question)}</p>'
        f"{reasons([base])}"
    )
    if not base.done:
        return f"{opening}<p>No trial of the baseline is done.</p></section>"
    curve = "Precision against recall of seed 0, with the F-score at each of the 17 thresholds; dashed: equal F-score."
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
        about = f"Read from one run of seed 0 each, after epochs {epochs}; a gap: the trial had diverged. Single wild values may lie outside."
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
            "Area under ROC by site; a dot a seed, a bar at their mean. Red: the network saw no film of this site, and all its "
            "films are judged. Blue: films of held-out patients of a site that it saw. The dashed line is guessing. The other "
            "figures of this section mix the held-out films of all sites."
        )
        parts += ["<h3>By site</h3>", graph(graphs, f"sites-{name}", about)]
    if f"differences-{name}" in graphs:
        about = (
            "Differences to the baseline with their 95% intervals; in brackets the number of seeds. Triangles: better or "
            "worse; dots: no detectable difference."
        )
        parts.append(graph(graphs, f"differences-{name}", about))
    return "".join(parts) + "</section>"


def _about_curves(variants: Sequence[VariantFindings], found: Findings) -> str:
    several = any(len(variant.records) > 1 for variant in (*variants, found.baseline))
    band = " Lines are means over seeds, bands reach from the least to the greatest." if several else ""
    dotted = "" if variants[0] is found.baseline else " Dotted: the baseline."
    return (
        "Training figures are taken while the weights change and with augmentation on, accuracies at probability 0.5."
        f"{band}{dotted} Single wild epochs may lie outside."
    )


def _provenance(found: Findings) -> str:
    facts = found.facts
    machines, software = set(), set()
    for record in found.records():
        told = record.origin
        machines.add(f"{told['machine']['processor']}, {told['machine']['cores']} cores")
        packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items() if version)
        software.add(
            f"pneumoscan {told['pneumoscan']} ({told['commit'] or 'no commit'}), Python {told['python']}, {packages}"
        )
    machine = facts.ground.machine
    told = {
        "study": found.plan.study.name,
        "preset": found.plan.study.preset,
        "data SHA-256": facts.ground.data_sha256,
        "hold-out SHA-256": facts.ground.held_out_sha256,
        "a trial computes with": f"{machine.worker_threads} worker threads in {machine.precision} on {machine.device}",
        "machines": "; ".join(sorted(machines)),
        "software": "; ".join(sorted(software)),
    }
    return "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in told.items() if value)
