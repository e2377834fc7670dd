"""The page of an inspection: what its template shows beside the audit, mainly films and their means."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscan import __version__
from pneumoscan.audit.counts import Range
from pneumoscan.audit.duplicates import MAX_BITS, MIN_CORRELATION, DuplicateGroup
from pneumoscan.audit.inspection import Audit
from pneumoscan.audit.pictures import auc_chart, class_shares, colour_scale, diverging
from pneumoscan.data.manifest import CLASS_NAMES, FilmRecord, Manifest
from pneumoscan.errors import FilmError
from pneumoscan.pages import picture_uri, render

if TYPE_CHECKING:
    from markupsafe import Markup

SAMPLES = 8
MAX_GROUPS = 30
MAX_FILMS_IN_GROUP = 6
MAX_ROWS = 50
MIN_FOR_MEAN = 20
_KINDS = {"same_file": "same file", "same_pixels": "same pixels, other file", "near_copy": "near copy"}


def build_page(audit: Audit, manifest: Manifest) -> str:
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


def _means(audit: Audit) -> list[dict[str, str]]:
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
