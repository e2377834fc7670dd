"""Inspect a set of films: read it once, count, search for copies and shortcuts, and write the findings."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.counts import (
    Patients,
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
from pneumoscan.audit.findings import AuditFinding, findings_of, findings_of_network, findings_of_sites
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
from pneumoscan.data.manifest import Manifest

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Inspection:
    """Content and problems of a set of films.

    Attributes:
        root: The folder as given; with several sites each with its name.
        name: Name of the set on the page: that of the folder, or of the sites.
        layout: Layout of the manifest.
        n_films: Rows of the table.
        n_readable: Films that can be used.
        splits: Counts by split.
        sizes: Sizes and modes of all films, then by class.
        patients: Films per patient.
        refused: Films that cannot be read.
        duplicates: Copies and near copies.
        shortcuts: How well the label can be guessed from unrelated features.
        comparisons: For each site, the strongest shortcut beside the area of a network.
        sites: NetworkComparison of the sites; None if there is only one.
        findings: Findings as text, most severe first.
        notes: What was ignored while reading the table.
        seconds: Duration of the inspection.
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
            "sites": _sites_json(self.sites),
            "notes": list(self.notes),
        }


def _sites_json(sites: Sites | None) -> dict[str, Any] | None:
    if sites is None:
        return None
    tree = asdict(sites)
    del tree["means"]
    return tree


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
        root=_root_of(manifest),
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


def _root_of(manifest: Manifest) -> str:
    places = [f"{name}={part.root}" for name, part in manifest.parts.items()]
    return ", ".join(places) or str(manifest.root)
