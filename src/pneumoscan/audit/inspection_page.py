"""What an inspection found: lines for a terminal, JSON for programs, a page with films and charts for people."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan import __version__
from pneumoscan.audit.counts import Range, Sites, SplitCounts
from pneumoscan.audit.duplicates import MAX_BITS, MIN_CORRELATION, DuplicateGroup
from pneumoscan.audit.findings import plural
from pneumoscan.audit.inspection import Inspection
from pneumoscan.audit.shortcuts import NetworkComparison, Probe, Shortcuts
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import FilmError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.pages import picture_uri, render

if TYPE_CHECKING:
    from markupsafe import Markup

NORMAL_COLOUR, PNEUMONIA_COLOUR = "#7a9cc6", "#b5473c"
# Ends of the diverging map: blue for darker PNEUMONIA, red for brighter; distinct with colour blindness.
_BLUE, _WHITE, _RED = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def diverging(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.uint8]:
    """Colour values from −limit (blue) over 0 (white) to +limit (red): uint8 (height, width, 3)."""
    place = np.clip(values / max(limit, 1e-6), -1, 1)[..., None]
    end = np.where(place < 0, np.array(_BLUE), np.array(_RED))
    return np.asarray(np.rint(np.array(_WHITE) + np.abs(place) * (end - np.array(_WHITE))), dtype=np.uint8)


def colour_scale(limit: float) -> str:
    """Draw the scale of `diverging` with ends, centre and unit."""
    stops = "".join(
        f'<stop offset="{offset}" stop-color="rgb{colour}"/>'
        for offset, colour in ((0, _BLUE), (0.5, _WHITE), (1, _RED))
    )
    ticks = "".join(
        f'<text x="{x}" y="32" text-anchor="{anchor}">{label}</text>'
        for x, anchor, label in (
            (1, "start", f"−{limit:.0f} darker"),
            (120, "middle", "0"),
            (239, "end", f"+{limit:.0f} brighter"),
        )
    )
    return (
        '<svg class="scale" viewBox="0 0 240 38" role="img" aria-label="Colour scale in grey levels">'
        f'<defs><linearGradient id="diverging">{stops}</linearGradient></defs>'
        '<rect x="1" y="2" width="238" height="14" fill="url(#diverging)" stroke="#8a8f98" stroke-width="0.6"/>'
        f"{ticks}</svg>"
    )


def class_shares(splits: tuple[SplitCounts, ...]) -> str:
    """Draw one bar per split, divided into NORMAL and PNEUMONIA."""
    rows = "".join(_share_row(split, 8 + 34 * i) for i, split in enumerate(splits))
    description = "; ".join(f"{split.split} {split.pneumonia_share:.1%}" for split in splits)
    height = 34 * len(splits) + 10
    return (
        f'<svg class="chart" viewBox="0 0 620 {height}" role="img" '
        f'aria-label="Share of PNEUMONIA by split: {escape(description)}">{rows}</svg>'
    )


def _share_row(split: SplitCounts, y: int) -> str:
    left, full = 60, 550
    share = split.pneumonia_share
    width = full * (1 - share)
    parts = [
        f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(split.split)}</text>',
        f'<rect x="{left}" y="{y}" width="{width:.1f}" height="24" fill="{NORMAL_COLOUR}"/>',
        f'<rect x="{left + width:.1f}" y="{y}" width="{full - width:.1f}" height="24" fill="{PNEUMONIA_COLOUR}"/>',
    ]
    if share < 0.9:
        parts.append(f'<text x="{left + 8}" y="{y + 16}" fill="#10243c">NORMAL {1 - share:.1%}</text>')
    if share > 0.1:
        text = f"PNEUMONIA {share:.1%}"
        parts.append(f'<text x="{left + full - 8}" y="{y + 16}" text-anchor="end" fill="#fff">{text}</text>')
    return "".join(parts)


def auc_chart(probes: tuple[Probe, ...]) -> str:
    """Draw one bar per probe on an axis from 0.5 (chance) to 1 (perfect), with folds as small marks."""
    height = 32 * len(probes) + 50
    grid = "".join(_grid_line(value / 10, height) for value in range(5, 11))
    rows = "".join(_auc_row(probe, 8 + 32 * i) for i, probe in enumerate(probes))
    description = "; ".join(f"{probe.title} {probe.roc_auc:.3f}" for probe in probes)
    return (
        f'<svg class="chart" viewBox="0 0 620 {height}" role="img" aria-label="AUC by shortcut: {escape(description)}">'
        f"{grid}{rows}</svg>"
    )


def _auc_x(auc: float) -> float:
    return 170 + 380 * (min(1.0, max(0.5, auc)) - 0.5) / 0.5


def _grid_line(value: float, height: int) -> str:
    x = _auc_x(value)
    note = {0.5: "guessing", 1.0: "always right"}.get(value, "")
    dash = "" if note else ' stroke-dasharray="2 4"'
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height - 40}" stroke="#9aa1ab"{dash}/>'
        f'<text x="{x:.1f}" y="{height - 24}" text-anchor="middle">{value:.1f}</text>'
        f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{note}</text>'
    )


def _auc_row(probe: Probe, y: int) -> str:
    start, end = _auc_x(0.5), _auc_x(probe.roc_auc)
    marks = "".join(
        f'<line x1="{_auc_x(auc):.1f}" x2="{_auc_x(auc):.1f}" y1="{y + 4}" y2="{y + 18}" stroke="#1d2733"/>'
        for auc in probe.fold_aucs
    )
    label = "same for all" if probe.constant else f"{probe.roc_auc:.3f}"
    after = max([end, *(_auc_x(auc) for auc in probe.fold_aucs)])
    return (
        f'<text x="{start - 10:.1f}" y="{y + 15}" text-anchor="end">{escape(probe.title)}</text>'
        f'<rect x="{start:.1f}" y="{y}" width="{end - start:.1f}" height="22" fill="{_severity(probe.roc_auc)}"/>'
        f'{marks}<text class="value" x="{after + 7:.1f}" y="{y + 15}">{label}</text>'
    )


def _severity(auc: float) -> str:
    return "#b5473c" if auc >= 0.8 else "#d89b3a" if auc >= 0.65 else "#8fa3b8"


SAMPLES = 8
MAX_GROUPS = 30
MAX_FILMS_IN_GROUP = 6
MAX_ROWS = 50
MIN_FOR_MEAN = 20
_KINDS = {"same_file": "same file", "same_pixels": "same pixels, other file", "near_copy": "near copy"}


def build_page(audit: Inspection, manifest: Manifest) -> str:
    """Return the page of an audit as HTML.

    Args:
        audit: The audit.
        manifest: The manifest, from which the sample films are read again; a film that is gone is shown as missing.
    """
    return render(
        "pneumoscan.audit",
        "inspect.html",
        audit=audit,
        version=__version__,
        class_names=CLASS_NAMES,
        class_shares=class_shares(audit.splits),
        auc_chart=auc_chart(audit.shortcuts.probes) if audit.shortcuts.probes else "",
        site_means=[
            _image(mean, f"Mean film of {name}", f"mean film, {name}")
            for name, mean in (audit.sites.means.items() if audit.sites else ())
        ],
        means=_means(audit),
        kinds=_KINDS,
        groups=[_group(group, manifest) for group in audit.duplicates.groups[:MAX_GROUPS]],
        samples=_samples(manifest),
        max_bits=MAX_BITS,
        min_correlation=MIN_CORRELATION,
        most_rows=MAX_ROWS,
        breakable=breakable,
        spread=spread,
    )


def breakable(caption: str) -> "Markup":
    """Return a caption with possible line breaks after `/`, `_` and `-`."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_-])(?=\w)", r"\1<wbr>", str(escape(caption))))  # noqa: S704 - it is escaped


def spread(found: Range, digits: int = 0, unit: int = 1) -> str:
    """Return the median with minimum and maximum, in a unit."""
    middle, low, high = (f"{value / unit:,.{digits}f}" for value in (found.median, found.min, found.max))
    return f"{middle} ({low}–{high})"


def _image(pixels: Any, alt: str, caption: str, extra: str = "") -> dict[str, str]:
    return {"uri": picture_uri(pixels, "png", optimize=True), "alt": alt, "caption": caption, "extra": extra}


def _film(manifest: Manifest, record: FilmRecord, longest: int, caption: str) -> dict[str, str]:
    alt = f"{CLASS_NAMES[record.label]} film {record.path}"
    try:
        pixels = manifest.read(record).pixels
    except FilmError as error:
        return {"uri": "", "alt": alt, "caption": f"{caption} ({error.code})", "extra": ""}
    uri = picture_uri(pixels, longest=longest, quality=78, optimize=True)
    return {"uri": uri, "alt": alt, "caption": caption, "extra": ""}


def _means(audit: Inspection) -> list[dict[str, str]]:
    """Return the mean films of the split whose shortcuts were measured, their difference, and those of other splits."""
    split = audit.shortcuts.split or audit.splits[0].split
    films = {(counts.split, name): counts.films[name] for counts in audit.splits for name in CLASS_NAMES}

    def mean(of: str, name: str) -> dict[str, str]:
        pixels = np.rint(audit.means[of, name]).astype(np.uint8)
        return _image(pixels, f"Mean {name} film of {of}", f"{name}, {of}")

    shown = [mean(of, name) for of, name in audit.means if of == split]
    normal, pneumonia = (audit.means.get((split, name)) for name in CLASS_NAMES)
    if normal is not None and pneumonia is not None:
        difference = pneumonia - normal
        limit = max(1.0, float(np.abs(difference).max()))
        caption = f"PNEUMONIA minus NORMAL, {split}, grey levels of 255"
        alt = f"Difference of the means: {caption}"
        shown.append(_image(diverging(difference, limit), alt, caption, colour_scale(limit)))
    others = [key for key in audit.means if key[0] != split and films[key] >= MIN_FOR_MEAN]
    return shown + [mean(of, name) for of, name in others]


def _group(group: DuplicateGroup, manifest: Manifest) -> dict[str, Any]:
    said = [_KINDS[group.kind]]
    if group.kind == "near_copy":
        said.append(f"correlation {group.correlation:.3f}")
    said += ["contradictory labels"] * group.contradictory + ["across splits"] * group.across_splits
    if not group.same_patient:
        said.append("of several patients")
    shown = group.films[:MAX_FILMS_IN_GROUP]
    return {
        "said": " · ".join(said),
        "films": [_film(manifest, film, 148, film.path) for film in shown],
        "hidden": len(group.films) - len(shown),
        "bad": group.contradictory or group.across_splits,
    }


def _samples(manifest: Manifest) -> list[dict[str, Any]]:
    found = []
    for split in dict.fromkeys(film.split for film in manifest.films):
        for label, name in enumerate(CLASS_NAMES):
            drawn = _draw([film for film in manifest.films if film.split == split and film.label == label])
            films = [_film(manifest, film, 186, film.path.rsplit("/", 1)[-1]) for film in drawn]
            if films:
                found.append({"split": split, "name": name, "films": films})
    return found


def _draw(films: Sequence[FilmRecord]) -> list[FilmRecord]:
    """Draw at most `SAMPLES` films of different patients, with a fixed seed."""
    firsts = list({film.patient_id: film for film in reversed(films)}.values())
    chosen = np.random.default_rng(0).permutation(len(firsts))[:SAMPLES]
    return sorted((firsts[i] for i in chosen), key=lambda film: film.path)


def summary_lines(audit: Inspection) -> list[str]:
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


def write_inspection(out: Path, audit: Inspection, manifest: Manifest) -> Path:
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
