"""Decide which DICOM files are chest films, by class, modality, frames, view and body part, before decoding.

The words of the header are compared with our lists. They never appear in a message, because they may contain patient data.
"""

import re

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
RADIOGRAPHS = frozenset((f"{_STORAGE}1", f"{_STORAGE}1.1"))
CAPTURES = frozenset(f"{_STORAGE}{last}" for last in ("7", "7.2", "7.3", "7.4"))
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

# PS3.3, C.8.11.5 (DX) and C.8.1.2 (CR), and words that are used in practice, in several languages.
_LATERAL = re.compile(
    r"LL|RL|LM|ML|LMO|MLO|XTL|LLL|(L|R|LT|RT|LEFT|RIGHT|XT)?LAT(L|R|LT|RT|ER(?!ALITY)[A-Z]*)?"
    r"|PROF|PROFI(L|EL)[A-Z]*|PERFIL[A-Z]*|SEITL[A-Z]*|SEITEN[A-Z]*|SIDE(VIEW)?|BOC(Z?N|HN)[A-Z]*|DWARS|ZIJ[A-Z]*|YAN"
)
_OBLIQUE = re.compile(r"LLO|RLO|LAO|RAO|LPO|RPO|OA[DG]|OP[DG]|OBL|OBLI[QCK][A-Z]*|SCHRA(E)?G[A-Z]*")
_DECUBITUS = re.compile(r"LLD|RLD|[DL]ECUB|DECUBITUS")
# The projections of CID 4010 and the views of CID 26 in SNOMED CT and in its old codes: lateral, oblique, on the side.
_NOT_FRONTAL_CODES = frozenset(
    """
    399067008 R-102CD 399173006 R-10236 399198007 R-10232 399352003 R-10228 399260004 R-10224 399118008 G-5223
    399297009 G-5222 399300004 G-5221 399012007 G-5220 30730003 G-A145 49370004 G-A104
    399312000 R-10208 399160007 R-10204 399132005 R-10252 260427002 R-40783 260426006 R-40782 399135007 R-10220
    399184004 R-10238 399006002 R-10212 399004004 R-10246 399225005 R-10250 399288005 R-10248 399182000 R-102C1
    399059000 R-10216 399356000 R-40985 399236003 R-10234 399038007 R-10210 399325008 R-10254 399368009 R-10226
    399099002 R-10230 399159002 G-5225 399268006 G-5224 399074003 G-5207 399108003 G-5206 399136008 G-5209
    399075002 G-5208 399089007 G-5210 399273000 G-5212
    32185000 F-10318 102536004 F-10319 102535000 F-10317
    """.split()  # noqa: SIM905 - a table of many short words
)
# Also in longer words, such as NECKCHESTABDPELV or RXTORAX.
_CHEST = re.compile(r".*(CHEST|TH?ORAX|TH?ORAKS|TORACE).*")
_CHEST_WORDS = re.compile(
    r"CXR|CHST|LUNG(S|E|EN)?|PULMO[A-Z]*|PULMAO|POLMON[EI]|POUMONS?|PLUCA|AKCIGER|KEUHKOT"
    r"|PECHO|POITRINE|PEITO|PETTO|BRUST|BRUSTKORB|BORST(KAS)?|BRYST|GOGUS|MELLKAS|HRUDNIK|KLATKA|RINTAKEHA|GRUD[A-Z]*"
)
# "Thoracic" alone, or with words such as these; with others it may be the spine.
_THORACIC = re.compile(r"TH?ORA[CK](I[CK]|A|IQ)[A-Z]*")
_BESIDE_THORACIC = frozenset(
    (
        "STRUCTURE",
        "CAVITY",
        "CAGE",
        "REGION",
        "WALL",
        "ORGAN",
        "ORGANS",
        "ENTIRE",
        "PA",
        "AP",
        "XR",
        "RX",
        "X",
        "RAY",
    )
)
_UNKNOWN = frozenset(
    """
    UNKNOWN UNK OTHER OTHERS N A NA NONE NULL NOT APPLICABLE SPECIFIED AVAILABLE DEFINED UNSPECIFIED UNDEFINED DEFAULT MISC
    MISCELLANEOUS ANY BODY PART INCONNU AUTRE UNBEKANNT SONSTIGE SONSTIGES ANDERE DESCONOCIDO OTRO OUTRO ALTRO SCONOSCIUTO
    """.split()  # noqa: SIM905 - a table of many short words
)
# Chest, thorax, lung, and regions that contain them, in the old and the new codes of SNOMED (CID 4031 and 4009).
_CHEST_CODES = frozenset(
    """
    T-D3000 51185008 T-D3200 43799004 816094009 T-D3050 78904004 T-28000 39607008 302551006 181216001
    R-FAB52 417437006 R-FAB53 416152001 R-FAB54 416319003 R-FAB55 416550000 R-FAB56 416775004
    """.split()  # noqa: SIM905 - a table of many short words
)


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
    if uid in CAPTURES:
        admitted = modality in _CAPTURED
    else:
        admitted = (uid in RADIOGRAPHS and modality in {*_RADIOGRAPHY, ""}) or (
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
    value = ""
    if code is not None:
        said |= code.words(Tag.CODE_MEANING) | code.words(Tag.CODE_VALUE)
        value = code.text(Tag.CODE_VALUE)
    turned = any(form.fullmatch(word) for word in said for form in (_LATERAL, _OBLIQUE, _DECUBITUS))
    if turned or value in _NOT_FRONTAL_CODES:
        raise FilmViewError(
            f"{source} is a lateral, oblique or decubitus view according to its header.",
            "Send the frontal film (PA or AP).",
        )


def _admit_body_part(header: DataSet, source: str) -> None:
    part, region = header.words(Tag.BODY_PART), None
    if part <= _UNKNOWN:
        # Only if the plain word is missing, because codes come from many vocabularies.
        region = header.item(Tag.ANATOMIC_REGION)
        part = frozenset() if region is None else region.words(Tag.CODE_MEANING)
    coded = region is not None and region.text(Tag.CODE_VALUE) in _CHEST_CODES
    if not (part <= _UNKNOWN or coded or _is_chest(part)):
        raise FilmBodyPartError(
            f"{source} shows a body part that is not known as the chest according to its header.",
            "Send a chest film; if it is one, correct BODY PART EXAMINED.",
        )


def _is_chest(words: frozenset[str]) -> bool:
    thoracic = {word for word in words if _THORACIC.fullmatch(word)}
    return any(_CHEST.fullmatch(word) or _CHEST_WORDS.fullmatch(word) for word in words) or (
        bool(thoracic) and words - thoracic <= _BESIDE_THORACIC
    )
