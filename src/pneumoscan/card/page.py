"""The model card: all sections, written from the bundle, its records and the texts of its authors.

The form is that of M. Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019 (doi 10.1145/3287560.3287596).
"""

import difflib
from pathlib import Path

from pneumoscan.card import blind, figures, limits, origin, text
from pneumoscan.card.records import Records


def card(records: Records) -> str:
    """Return the whole card as Markdown."""
    parts = [
        text.front_matter(records),
        text.title(records),
        text.purpose(records),
        text.sites(records),
        text.withdrawn(records),
        blind.blind(records),
        text.limits(records),
        text.films(records),
        text.traits(records),
        origin.network(records),
        origin.training(records),
        figures.held_out(records),
        figures.operating_points(records),
        figures.seeds(records),
        figures.calibration(records),
        figures.stress(records),
        limits.limits_of_use(records),
        limits.heatmaps(records),
        text.ethics(records),
        origin.again(records),
        origin.cost(records),
        origin.versions(records),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def difference(wanted: str, page: Path) -> str:
    """Return the difference of a page to a card as a unified diff; empty if there is none."""
    found = page.read_text(encoding="utf-8").splitlines(keepends=True) if page.is_file() else []
    lines = wanted.splitlines(keepends=True)
    return "".join(difflib.unified_diff(found, lines, str(page), "from the records"))
