"""Decide which DICOM files are chest films, by class, modality, frames, view and body part, before decoding.

The words of the header are compared with our lists. They never appear in a message, because they may contain patient data.
"""

from pneumoscan.errors import (
    FilmAnimatedError,
    FilmBodyPartError,
    FilmKindError,
    FilmNoPictureError,
    FilmViewError,
)
from pneumoscan.imaging.dicom.elements import DataSet, Tag
from pneumoscan.imaging.dicom.file import DicomFile, sop_class

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# PS3.4, B.5: computed and digital radiographs, and secondary captures (byte, word or true colour).
_RADIOGRAPHS = frozenset((f"{_STORAGE}1", f"{_STORAGE}1.1"))
_CAPTURES = frozenset(f"{_STORAGE}{last}" for last in ("7", "7.2", "7.3", "7.4"))
_FOR_PROCESSING = f"{_STORAGE}1.1.1"
_RADIOGRAPHY = frozenset(("CR", "DX"))
# A secondary capture may have no modality, or radiography (RG) or other (OT).
_CAPTURED = _RADIOGRAPHY | {"RG", "OT", ""}

# Manufacturer's Model Name in our results: a PACS may send their images back like films.
OWN_DEVICE = "pneumoscan"

_CLASS_NAMES = (
    ("1.2.840.10008.1.3.10", "a directory of a medium (DICOMDIR)"),
    (f"{_STORAGE}104.", "an encapsulated document"),
    (f"{_STORAGE}88.", "a structured report"),
    (f"{_STORAGE}11.", "a presentation state"),
    (f"{_STORAGE}2", "a computed tomogram"),
    (f"{_STORAGE}4", "a magnetic resonance image"),
    (f"{_STORAGE}6", "an ultrasound image"),
    (f"{_STORAGE}3", "an ultrasound image"),
    (f"{_STORAGE}12.", "an angiogram or fluoroscopy"),
    (f"{_STORAGE}1.2", "a mammogram"),
    (f"{_STORAGE}1.3", "an intra-oral radiograph"),
    (f"{_STORAGE}77.", "a photograph or video"),
)
_MODALITY_NAMES = {
    "CT": "a computed tomogram",
    "MR": "a magnetic resonance image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "XA": "an angiogram",
    "RF": "a fluoroscopy",
    "PT": "a positron emission tomogram",
    "NM": "a nuclear medicine image",
    "IO": "an intra-oral radiograph",
    "PX": "a panoramic radiograph",
    "SR": "a structured report",
    "DOC": "a document",
    "XC": "a photograph",
}

# PS3.3, C.8.11.5 (DX) and C.8.1.2 (CR), and values that are used in practice.
_LATERAL = frozenset(("LL", "RL", "LAT", "LATERAL", "LATERO", "PROFILE", "LM", "ML", "LMO", "MLO", "XTL"))
_OBLIQUE = frozenset(("LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE"))
_DECUBITUS = frozenset(("LLD", "RLD", "DECUB", "DECUBITUS"))
_NOT_FRONTAL = _LATERAL | _OBLIQUE | _DECUBITUS
_CHEST = frozenset(("CHEST", "THORAX", "TORAX", "TORACE", "LUNG", "LUNGS"))
# "Chest" and "Thoracic structure" in SNOMED, in its old and its new codes (CID 4031 and 4009).
_CHEST_CODES = frozenset(("T-D3000", "51185008", "43799004", "816094009"))


def admit(file: DicomFile) -> None:
    """Raise an error if the header says that the file is not a single frontal chest film.

    Raises:
        FilmKindError: Another class or modality, raw data for processing, or a result of pneumoscan.
        FilmNoPictureError: The file has no pixel data.
        FilmAnimatedError: The number of frames is not one.
        FilmViewError: Lateral, oblique or decubitus.
        FilmBodyPartError: Another body part.
    """
    header, source = file.header, file.reader.source
    if header.text(Tag.DEVICE_MODEL) == OWN_DEVICE.upper():
        raise FilmKindError(f"{source} is a result of pneumoscan.", "Send the original film.")
    _admit_kind(sop_class(file), header.text(Tag.MODALITY), source)
    if Tag.PIXELS not in header.elements:
        raise FilmNoPictureError(f"{source} has no pixel data.", "Send the image itself.")
    _admit_frames(header, source)
    _admit_view(header, source)
    _admit_body_part(header, source)


def _admit_kind(uid: str, modality: str, source: str) -> None:
    if uid == _FOR_PROCESSING:
        raise FilmKindError(
            f"{source} contains raw detector data for processing.", "Send the image for presentation."
        )
    if uid in _CAPTURES:
        admitted = modality in _CAPTURED
    else:
        admitted = (uid in _RADIOGRAPHS and modality in {*_RADIOGRAPHY, ""}) or (
            not uid and modality in _RADIOGRAPHY
        )
    if not admitted:
        raise FilmKindError(
            f"{source} is {_kind(uid, modality)}.",
            "Send a computed or digital radiograph (CR, DX) of a chest.",
        )


def _kind(uid: str, modality: str) -> str:
    """Return a description of what the file is instead."""
    named = next(
        (name for prefix, name in _CLASS_NAMES if (uid + ".").startswith(prefix.rstrip(".") + ".")), None
    )
    other = (
        "not a radiograph according to its class and modality"
        if uid or modality
        else "of a kind that its header does not give"
    )
    return named or _MODALITY_NAMES.get(modality, other)


def _admit_frames(header: DataSet, source: str) -> None:
    text = header.text(Tag.FRAMES)
    if text and not (text.isdecimal() and int(text) == 1):
        raise FilmAnimatedError(f"{source} does not contain exactly one frame.", "Send one film per file.")


def _admit_view(header: DataSet, source: str) -> None:
    said = header.words(Tag.VIEW_POSITION)
    code = header.item(Tag.VIEW_CODE)
    if code is not None:
        said |= code.words(Tag.CODE_MEANING)
    if said & _NOT_FRONTAL:
        raise FilmViewError(
            f"{source} is a lateral, oblique or decubitus view according to its header.",
            "Send the frontal film (PA or AP).",
        )


def _admit_body_part(header: DataSet, source: str) -> None:
    part, region = header.words(Tag.BODY_PART), None
    if not part:
        # Only if the plain word is missing, because codes come from many vocabularies.
        region = header.item(Tag.ANATOMIC_REGION)
        part = frozenset() if region is None else region.words(Tag.CODE_MEANING)
    thorax = bool(part & _CHEST) or part == {"THORACIC", "STRUCTURE"}
    coded = region is not None and region.text(Tag.CODE_VALUE) in _CHEST_CODES
    if part and not (thorax or coded):
        raise FilmBodyPartError(
            f"{source} shows another body part than the chest according to its header.",
            "Send a chest film; if it is one, correct the header.",
        )
