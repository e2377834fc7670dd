"""Read one film in a worker: from its bytes to a row and, if requested, two pictures or a PDF."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from pneumoscan.bundle.load import Bundle
from pneumoscan.classifier import NOT_A_CHEST_FILM, FilmResult, find_in
from pneumoscan.errors import FilmTooLargeError
from pneumoscan.imaging import Film, read
from pneumoscan.workers.protocol import Reading, Want

MAX_PICTURE_SIDE = 2048


def read_film(bundle: Bundle, film: bytes, threshold: float, want: Want) -> Reading:
    """Read one film; its row is that of `pneumoscan predict`.

    Args:
        bundle: The model.
        film: The bytes of a file: JPEG, PNG or DICOM.
        threshold: Threshold in [0, 1].
        want: The requested pictures.

    Raises:
        FilmError: The film is refused; the subclass gives the reason.
        BundleError: The network does not run.
    """
    try:
        seen = read(film)
        finding = find_in(bundle, seen, threshold)
        facts: dict[str, Any] = {
            "sha256": hashlib.sha256(film).hexdigest(),
            "logit": None if finding.row.label == NOT_A_CHEST_FILM else finding.logit,
            "distance": finding.distance,
            "width": seen.width,
            "height": seen.height,
            "format": seen.format,
        }
        if want.lungs:
            facts["lungs"] = None if finding.lungs is None else finding.lungs.to_json()
            # Also for NORMAL films, because the page changes the threshold without reading a film again.
            found = finding.regions(bundle, always=True)
            facts["regions"] = None if found is None else found.to_json()
        return Reading(
            finding.row.to_json() | facts,
            _heatmap(bundle, seen, finding) if want.heatmap else None,
            _picture(seen) if want.picture else None,
            (_document(seen, finding, facts, want.more["document"]),) if "document" in want.more else (),
        )
    except MemoryError:
        raise too_large() from None


def too_large() -> FilmTooLargeError:
    """Return the error for a film that exceeds the memory of a worker."""
    return FilmTooLargeError("<bytes> does not fit in memory.", "A film has a few million pixels.")


def _heatmap(bundle: Bundle, film: Film, finding: FilmResult) -> bytes | None:
    if finding.activation_map is None or finding.row.label == NOT_A_CHEST_FILM:
        return None
    from pneumoscan.bundle.heatmap import (
        evidence_of,
        transparency,
    )  # imported here, because few requests need it

    return _png(transparency(film, evidence_of(bundle, finding.activation_map, finding.lungs)))


def _document(film: Film, finding: FilmResult, facts: Mapping[str, Any], asked: Mapping[str, str]) -> bytes:
    from pneumoscan.predict.document import Words, pdf_of  # as above

    words = Words(asked["title"] or "film", facts["sha256"], asked["operating_point"])
    return pdf_of(film, finding.row, words, finding.lungs.outlines() if finding.lungs else ())


def _picture(film: Film) -> bytes:
    image = Image.fromarray(film.pixels)
    # In place, with the shape of the film.
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    # This level gives a third more bytes than the best one, in a third of the time.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
