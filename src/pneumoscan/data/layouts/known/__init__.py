"""Published sets in their original form, recognised by a file that only they have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.data.layouts.known import chexpert, nih, rsna
from pneumoscan.data.manifest import Manifest

Findings = tuple[str, ...]


@dataclass(frozen=True)
class KnownSet:
    """A published set: how it is recognised and read.

    Attributes:
        name: Name of the layout, and of the site of its films unless the user gives another.
        is_at: Returns whether a folder contains the set.
        load: Reads a folder; the findings count as PNEUMONIA, by default `Pneumonia`.
    """

    name: str
    is_at: Callable[[Path], bool]
    load: Callable[[Path, Findings], Manifest]


KNOWN_SETS = (
    KnownSet("nih-chestxray14", nih.is_at, nih.load),
    KnownSet("rsna-pneumonia", rsna.is_at, rsna.load),
    KnownSet("chexpert", chexpert.is_at, chexpert.load),
)


def known_set_at(folder: Path) -> KnownSet | None:
    """Return the published set in a folder, or None."""
    return next((known for known in KNOWN_SETS if known.is_at(folder)), None)
