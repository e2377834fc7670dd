"""The coded concepts of a report (PS3.16), and the private scheme for what no standard has a code for."""

import hashlib

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from pneumoscan.apps.node.results.finding import plain
from pneumoscan.classifier import CONTRAST, FAR, NEAR, NOT_A_CHEST_FILM, SHAPE, SMALL, SYNTHETIC, UNSURE

SCHEME = "99PNEUMOSCAN"

TITLE = Code("126000", "DCM", "Imaging Measurement Report")
# CID 100 has no plain chest film that validators accept; this is the head of its hierarchy.
PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
DEVICE = Code("121007", "DCM", "Device")
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
LUNG = Code("39607008", "SCT", "Lung structure")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENCES = {
    "PNEUMONIA": Code("52101004", "SCT", "Present"),
    "NORMAL": Code("272519000", "SCT", "Absent"),
    UNSURE: Code("373068000", "SCT", "Undetermined"),
}
QUALITY = Code("111050", "DCM", "Quality Assessment")
UNUSABLE = Code("111235", "DCM", "Unusable")
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")

WARNING = Code("WARNING", SCHEME, "Warning about the answer")
RESEMBLES = Code("RESEMBLES", SCHEME, "Films of the training that this film resembles")
_NO_SITE = Code("NONE", SCHEME, "Films of no known site")
_WARNINGS = {
    FAR: Code("FAR", SCHEME, "The film is unlike the films of the training"),
    NEAR: Code("NEAR", SCHEME, "The probability is near the threshold"),
    SMALL: Code("SMALL", SCHEME, "The film has fewer pixels than the model takes"),
    SHAPE: Code("SHAPE", SCHEME, "The film is unusually long or wide"),
    CONTRAST: Code("CONTRAST", SCHEME, "The film has little contrast"),
    SYNTHETIC: Code("SYNTHETIC", SCHEME, "The model was trained on synthetic films"),
}
MEANINGS = {name: code.meaning for name, code in _WARNINGS.items()}


def presence_of(label: str) -> Code | None:
    """Return whether pneumonia is present; None where the film cannot be judged."""
    return None if label == NOT_A_CHEST_FILM else PRESENCES[label]


def warning_code(name: str) -> Code:
    """Return the code of a warning; one that is new to this module gets its own name as meaning."""
    return _WARNINGS.get(name) or Code(_short(name), SCHEME, plain(name)[:64] or "Unnamed warning")


def site_code(name: str) -> Code:
    """Return the code of a site that the model knows, or of `none`."""
    return _NO_SITE if name == "none" else Code(_short(name), SCHEME, plain(name)[:64] or "Unnamed site")


def scheme_item() -> CodingSchemeIdentificationItem:
    """Return what declares the private scheme (PS3.3, C.12.1, Coding Scheme Identification Sequence)."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="pneumoscan: warnings and sites", responsible_organization="The pneumoscan developers"
    )


def concept(code: Code) -> CodedConcept:
    """Return a code as an item of a sequence."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def _short(name: str) -> str:
    """Return a code value, at most 16 characters: the name itself, or a hash where it is longer or not plain."""
    value = plain(name).upper()
    if 0 < len(value) <= 16 and plain(name) == name:
        return value
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16].upper()
