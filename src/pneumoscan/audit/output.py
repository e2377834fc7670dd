"""What an inspection found: lines for a terminal, JSON for programs, a page for people."""

from pathlib import Path
from textwrap import wrap

from pneumoscan.audit.counts import Sites, SplitCounts
from pneumoscan.audit.findings import plural
from pneumoscan.audit.inspection import Audit
from pneumoscan.audit.page import build_page
from pneumoscan.audit.shortcuts import NetworkComparison, Shortcuts
from pneumoscan.data.manifest import Manifest
from pneumoscan.files import write_atomic, write_json


def summary_lines(audit: Audit) -> list[str]:
    """Return the audit for a terminal: plain lines of at most 100 columns."""
    lines = [
        f"{plural(audit.n_films, 'film')}, {audit.n_readable:,} readable, "
        f"{plural(audit.patients.n_patients, 'patient')} ({audit.layout})",
        "",
        f"{'split':<8}{'films':>8}{'NORMAL':>9}{'PNEUMONIA':>11}{'share':>8}{'patients':>10}",
        *(_split_line(split) for split in audit.splits),
        "",
        *(_site_lines(audit.sites) if audit.sites else ()),
        *_shortcut_lines(audit.shortcuts, audit.comparisons),
        "",
        *(["Left out by the layout:", *(f"  {note}" for note in audit.notes), ""] if audit.notes else []),
        "What to know before training on this:",
        *(f"  {finding.severity:<7} {finding.title}" for finding in audit.findings),
    ]
    if not audit.findings:
        lines.append("  nothing noticeable")
    return [line if len(line) <= 100 or line.strip() in audit.notes else line[:97] + "..." for line in lines]


def _split_line(split: SplitCounts) -> str:
    counts = f"{split.films['NORMAL']:>9,}{split.films['PNEUMONIA']:>11,}"
    return f"{split.split:<8}{split.n_films:>8,}{counts}{split.pneumonia_share:>8.1%}{split.n_patients:>10,}"


def _site_lines(sites: Sites) -> list[str]:
    probe, best = sites.label_probe, sites.best_seen
    lines = [f"{'site':<24}{'films':>8}{'PNEUMONIA':>11}{'patients':>10}{'width':>8}{'mean grey':>11}"]
    for facts in sites.sites:
        width, grey = (f"{found.median:,.0f}" if found else "-" for found in (facts.width, facts.brightness))
        lines.append(
            f"{facts.site[:23]:<24}{facts.n_films:>8,}{facts.pneumonia_share:>11.1%}{facts.n_patients:>10,}"
            f"{width:>8}{grey:>11}"
        )
    seen = [f"a thumbnail predicts {best.title[:30]} with AUC {best.roc_auc:.3f}"] if best else []
    label = [f"the site predicts the label with AUC {probe.roc_auc:.3f}"] if probe else []
    return [*lines, *(["; ".join([*seen, *label])] if seen or label else []), ""]


def _shortcut_lines(shortcuts: Shortcuts, comparisons: tuple[NetworkComparison, ...]) -> list[str]:
    if not shortcuts.probes:
        return [f"Shortcuts were not measured: {shortcuts.note}."]
    folds = f"{shortcuts.n_films:,} films of {shortcuts.split}, {shortcuts.n_folds} folds by patient"
    return [
        "The label predicted without the lungs, AUC (0.5 is chance;",
        f"{folds}):",
        *(f"  {probe.title:<24} {probe.roc_auc:.3f}" for probe in shortcuts.probes),
        *(line for each in comparisons for line in wrap(each.text, 98, subsequent_indent="  ")),
    ]


def write_inspection(out: Path, audit: Audit, manifest: Manifest) -> Path:
    """Write `inspect.json` and `inspect.html` into the folder `out`, each in one step.

    Args:
        out: The folder, created if absent.
        audit: The audit of this manifest.
        manifest: The manifest; sample films are read again, and a film that is gone is shown as missing.

    Returns:
        The path of the page.

    Raises:
        DiskFullError, NotWritableError: See `files.write_problems`.
    """
    write_json(out / "inspect.json", audit.to_json())
    page = out / "inspect.html"
    write_atomic(page, build_page(audit, manifest))
    return page
