"""Inspect a set of films: read it once, count, search for copies and shortcuts; the findings as lines for a terminal, JSON, and a page."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pneumoscan import __version__
from pneumoscan.audit.counts import (
    Patients,
    Range,
    Sites,
    Sizes,
    SplitCounts,
    compare_sites,
    count_patients,
    count_splits,
    measure_sizes,
)
from pneumoscan.audit.duplicates import (
    MAX_BITS,
    MIN_CORRELATION,
    DuplicateGroup,
    Duplicates,
    find_duplicates,
)
from pneumoscan.audit.findings import (
    AuditFinding,
    findings_of,
    findings_of_network,
    findings_of_sites,
    plural,
)
from pneumoscan.audit.scan import Progress, UnreadFilm, scan
from pneumoscan.audit.shortcuts import (
    NetworkComparison,
    Shortcuts,
    compare_with,
    find_shortcuts,
    require_scikit_learn,
    shortcuts_by_site,
)
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import FilmError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.pages import picture_uri, render

if TYPE_CHECKING:
    from markupsafe import Markup

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Inspection:
    """Content and problems of a set of films.

    Attributes:
        root: The folder as given; with several sites each with its name.
        name: Name of the set on the page: that of the folder, or of the sites.
        n_films: Rows of the table, of which `n_readable` can be used.
        sizes: Sizes and modes of all films, then by class.
        comparisons: For each site, the strongest shortcut beside the area of a network.
        sites: Comparison of the sites; None if there is only one.
        findings: Most severe first.
        notes: What was ignored while reading the table.
        means: Mean film by (split, class name): float32 (200, 200) in [0, 255]; not in the JSON.
    """

    root: str
    name: str
    layout: str
    n_films: int
    n_readable: int
    splits: tuple[SplitCounts, ...]
    sizes: tuple[Sizes, ...]
    patients: Patients
    refused: tuple[UnreadFilm, ...]
    duplicates: Duplicates
    shortcuts: Shortcuts
    comparisons: tuple[NetworkComparison, ...]
    sites: Sites | None
    findings: tuple[AuditFinding, ...]
    notes: tuple[str, ...]
    seconds: float
    means: dict[tuple[str, str], npt.NDArray[np.float32]] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything except the mean films as JSON types, with stable keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "root": self.root,
            "layout": self.layout,
            "class_names": list(CLASS_NAMES),
            "n_films": self.n_films,
            "n_readable": self.n_readable,
            "n_refused": len(self.refused),
            "seconds": round(self.seconds, 2),
            "findings": [asdict(finding) for finding in self.findings],
            "splits": [asdict(split) for split in self.splits],
            "sizes": [asdict(sizes) for sizes in self.sizes],
            "patients": asdict(self.patients),
            "refused": [asdict(film) for film in self.refused],
            "duplicates": _duplicates_json(self.duplicates),
            "shortcuts": asdict(self.shortcuts),
            "comparisons": [asdict(each) for each in self.comparisons],
            "sites": None
            if self.sites is None
            else {name: value for name, value in asdict(self.sites).items() if name != "means"},
            "notes": list(self.notes),
        }


def _duplicates_json(duplicates: Duplicates) -> dict[str, Any]:
    groups = duplicates.groups
    return {
        "max_hash_bits": MAX_BITS,
        "min_correlation": MIN_CORRELATION,
        "n_candidates": duplicates.n_candidates,
        "closest_below": duplicates.closest_below,
        "n_redundant": duplicates.n_redundant,
        "n_same_file": len(duplicates.of_kind("same_file")),
        "n_same_pixels": len(duplicates.of_kind("same_pixels")),
        "n_near_copy": len(duplicates.of_kind("near_copy")),
        "n_across_splits": sum(group.across_splits for group in groups),
        "n_contradictory": sum(group.contradictory for group in groups),
        "groups": [_group_json(group) for group in groups],
    }


def _group_json(group: DuplicateGroup) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "correlation": group.correlation,
        "across_splits": group.across_splits,
        "contradictory": group.contradictory,
        "same_patient": group.same_patient,
        "films": [
            {
                "path": film.path,
                "split": film.split,
                "class_name": CLASS_NAMES[film.label],
                "patient_id": film.patient_id,
            }
            for film in group.films
        ],
    }


def inspect(
    manifest: Manifest,
    *,
    network: str = "",
    areas: Mapping[str, tuple[float, int]] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Inspection:
    """Inspect a set of films.

    Args:
        manifest: The table of films; all splits are read, also `test`.
        network: Name of a network to compare with the shortcuts.
        areas: By site, its area under the ROC curve and the number of films (see `evaluate.areas_by_site`).
        progress: Called with (films read, all films) after each film.
        workers: Threads; by default one more than cores.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        NothingUsableError: No film can be read.
    """
    require_scikit_learn()
    start = time.monotonic()
    seen = scan(manifest, workers=workers, progress=progress)
    splits, sizes = count_splits(manifest, seen), measure_sizes(manifest, seen)
    patients, duplicates = count_patients(manifest), find_duplicates(seen, manifest)
    shortcuts, sites = find_shortcuts(seen, manifest), compare_sites(seen, manifest)
    comparisons = compare_with(shortcuts_by_site(seen, manifest, shortcuts), network, areas)
    return Inspection(
        root=", ".join(f"{name}={part.root}" for name, part in manifest.parts.items()) or str(manifest.root),
        name=" and ".join(manifest.parts) or manifest.root.name or str(manifest.root),
        layout=manifest.layout,
        n_films=len(manifest),
        n_readable=len(seen.facts),
        splits=splits,
        sizes=sizes,
        patients=patients,
        refused=seen.refused,
        duplicates=duplicates,
        shortcuts=shortcuts,
        comparisons=comparisons,
        sites=sites,
        findings=findings_of(
            splits,
            sizes,
            patients,
            seen.refused,
            duplicates,
            shortcuts,
            (*findings_of_network(comparisons), *findings_of_sites(sites)),
        ),
        notes=manifest.notes,
        seconds=time.monotonic() - start,
        means=seen.means,
    )


# The page and the lines


SAMPLES = 8
MAX_GROUPS = 30
MAX_FILMS_IN_GROUP = 6
MAX_ROWS = 50
MIN_FOR_MEAN = 20
# Ends and middle of the diverging map: blue for darker PNEUMONIA, red for brighter; distinct with colour blindness.
ENDS = ((33, 102, 172), (247, 247, 247), (178, 24, 43))
_KINDS = {"same_file": "same file", "same_pixels": "same pixels, other file", "near_copy": "near copy"}


def diverging(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.uint8]:
    """Colour values from −limit (blue) over 0 (white) to +limit (red): uint8 (height, width, 3)."""
    place = np.clip(values / max(limit, 1e-6), -1, 1)[..., None]
    end = np.where(place < 0, np.array(ENDS[0]), np.array(ENDS[2]))
    return np.asarray(np.rint(np.array(ENDS[1]) + np.abs(place) * (end - np.array(ENDS[1]))), dtype=np.uint8)


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
        ends=ENDS,
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


def _image(pixels: Any, alt: str, caption: str, limit: float = 0.0) -> dict[str, Any]:
    return {"uri": picture_uri(pixels, "png", optimize=True), "alt": alt, "caption": caption, "limit": limit}


def _film(manifest: Manifest, record: FilmRecord, longest: int, caption: str) -> dict[str, str]:
    alt = f"{CLASS_NAMES[record.label]} film {record.path}"
    try:
        pixels = manifest.read(record).pixels
    except FilmError as error:
        return {"uri": "", "alt": alt, "caption": f"{caption} ({error.code})"}
    uri = picture_uri(pixels, longest=longest, quality=78, optimize=True)
    return {"uri": uri, "alt": alt, "caption": caption}


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
        shown.append(_image(diverging(difference, limit), alt, caption, limit))
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
