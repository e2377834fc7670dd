"""Published sets, read as they come from their publishers; a file that only they have tells them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pneumoscan.data.layouts.known import chexpert, nih, rsna
from pneumoscan.data.manifest import Manifest

Findings = tuple[str, ...]


@dataclass(frozen=True)
class KnownSet:
    """How a published set is told and read.

    Attributes:
        name: The layout, and the site of its films unless the user names another.
        is_at: Whether a folder holds it.
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
    """Return the published set that a folder holds, or None."""
    return next((known for known in KNOWN_SETS if known.is_at(folder)), None)
