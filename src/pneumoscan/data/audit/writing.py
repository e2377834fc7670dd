"""Write what an inspection found: JSON for programs, a page for people."""

from pathlib import Path

from pneumoscan.data.audit.audit import Audit
from pneumoscan.data.audit.page import render
from pneumoscan.data.manifest import Manifest
from pneumoscan.files import write_atomic, write_json


def write_inspection(out: Path, audit: Audit, manifest: Manifest) -> Path:
    """Write `inspect.json` and `inspect.html` into the folder `out`, each in one step.

    Args:
        out: The folder, created if absent.
        audit: The audit of this manifest.
        manifest: The manifest; sample films are read again, and a film that is gone is shown as missing.

    Returns:
        The path of the page.

    Raises:
        DiskFullError, NotWritableError: See `files.write_problems`.
    """
    write_json(out / "inspect.json", audit.to_json())
    page = out / "inspect.html"
    write_atomic(page, render(audit, manifest))
    return page
