"""Write the tables of docs/dicom-conformance.md from the tables in the code.

    python docs/write_conformance.py

Each table stands between two comments, of which the first names it.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.sr.coding import Code
from pydicom.uid import UID

from pneumoscan.imaging.dicom import admission
from pneumoscan.imaging.dicom.file import JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE
from pneumoscan.node import pacs, receive
from pneumoscan.node.results import objects
from pneumoscan.node.results.finding import PICTURE_CLASS, REPORT_CLASS, STATE_CLASS

PAGE = Path(__file__).with_name("dicom-conformance.md")
EXPLICIT_LITTLE, JPEG_BASELINE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def named(uid: str) -> tuple[str, str]:
    """Return the name and the UID of a class or syntax, as rows have them."""
    return UID(uid).name, f"`{uid}`"


def received_classes() -> str:
    """Return the classes that C-STORE takes, and what becomes of their objects."""
    own = {REPORT_CLASS}
    read = admission.RADIOGRAPHS | admission.CAPTURES
    rows = [
        (*named(uid), "SCP", "read" if uid in read else "taken, and not read" if uid in own else "refused")
        for uid in receive.CLASSES
    ]
    return table(
        ("SOP class", "UID", "role", "objects are"),
        [(*named(receive.VERIFICATION), "SCP, SCU of `node check`", "–"), *rows],
    )


def syntaxes() -> str:
    """Return the transfer syntaxes that are taken and read."""
    native = sorted(
        NATIVE | {RLE} | JPEG | JPEG_LS | JPEG_2000, key=lambda uid: [int(n) for n in uid.split(".")]
    )
    return table(("transfer syntax", "UID"), map(named, native))


def results() -> str:
    """Return what is stored."""
    return table(
        ("object", "SOP class", "UID", "transfer syntax"),
        [
            ("report", *named(REPORT_CLASS), UID(EXPLICIT_LITTLE).name),
            ("picture", *named(PICTURE_CLASS), UID(JPEG_BASELINE).name),
            ("presentation state", *named(STATE_CLASS), UID(EXPLICIT_LITTLE).name),
        ],
    )


def returned() -> str:
    """Return the attributes that queries ask for and use."""
    asked = {f"{tag_for_keyword(keyword):08X}" for keyword in pacs.KEYWORDS}
    keywords = {
        f"{tag:08X}": keyword for tag, keyword in ((tag_for_keyword(k), k) for k in keyword_dict) if tag
    }
    return table(
        ("attribute", "tag", "asked for by"),
        [
            (
                keywords[tag],
                f"({tag[:4]},{tag[4:]})",
                "`includefield`" if tag in asked else "default of the standard",
            )
            for tag in pacs.FIELDS
        ],
    )


def statuses() -> str:
    """Return what C-STORE answers."""
    told = {
        receive.SUCCESS: "Success: file and row are on the disk; also for an object that is known, and for our own results",
        receive.OUT_OF_RESOURCES: "Refused, out of resources: disk full or read-only, queue not writable, node being drained; send again later",
        receive.DOES_NOT_MATCH: "Error, data set does not match: the SOP Instance UIDs of command and data set differ",
        receive.CANNOT_UNDERSTAND: "Error, cannot understand: no whole, sane DICOM data set",
    }
    return table(("status", "meaning"), [(f"0x{status:04X}", meaning) for status, meaning in told.items()])


def codes() -> str:
    """Return the codes of the report."""
    found = [value for value in vars(objects).values() if isinstance(value, Code)]
    tables = [value for value in vars(objects).values() if isinstance(value, dict)]
    found += [code for one in tables for code in one.values() if isinstance(code, Code)]
    unique = sorted({(code.scheme_designator, code.value, code.meaning) for code in found})
    return table(
        ("scheme", "code", "meaning"), [(scheme, f"`{value}`", meaning) for scheme, value, meaning in unique]
    )


TABLES: dict[str, Callable[[], str]] = {
    "received classes": received_classes,
    "transfer syntaxes": syntaxes,
    "results": results,
    "attributes of queries": returned,
    "statuses": statuses,
    "codes": codes,
}


def page(text: str) -> str:
    """Return the page with its tables written again.

    Raises:
        ValueError: A table is missing.
    """
    for name, made in TABLES.items():
        start = f"<!-- {name}, by write_conformance.py -->\n\n"
        pattern = re.compile(rf"({re.escape(start)})(.*?)(\n\n<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, made=made: found[1] + made() + found[3], text)
        if count != 1:
            raise ValueError(f"docs/dicom-conformance.md must have the table {name} once.")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
