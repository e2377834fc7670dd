"""Write the list of software of unknown provenance in docs/device.md from the bill of materials.

    make sbom
    python docs/write_soup.py build/sbom.cdx.json

The bill names what is installed, with versions and licences; what each package is for is said here.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("device.md")
START, END = "<!-- packages, by write_soup.py -->", "<!-- end -->"
# What the packages are for that pyproject.toml names for the node, the viewer and the codecs.
PURPOSES = {
    "click": "the command line",
    "highdicom": "makes the structured report and the picture",
    "imagecodecs": "decodes compressed DICOM films, in the confined processes",
    "markdown-it-py": "shows texts on the page of the viewer",
    "numpy": "all arrays of pixels and numbers",
    "onnxruntime": "runs the network",
    "pillow": "decodes JPEG and PNG, resizes, draws the picture",
    "prometheus-client": "tells figures to a monitoring system",
    "pydicom": "writes results; never reads films from outside",
    "pynetdicom": "C-STORE and C-ECHO",
    "python-multipart": "reads forms of the viewer",
    "reportlab": "writes the result as a PDF to print and sign",
    "rich": "progress and tables in the terminal",
    "starlette": "the HTTP service of the viewer",
    "urllib3": "DICOMweb and FHIR",
    "uvicorn": "the HTTP server of the viewer",
}


def rows(bill: dict[str, Any]) -> list[str]:
    """Return a row for each package of a CycloneDX bill in JSON, those that we name first.

    Raises:
        ValueError: A package that PURPOSES names is missing.
    """
    own = bill["metadata"]["component"]
    components = {one["bom-ref"]: one for one in bill["components"] if one["name"] != own["name"]}
    needed_by: dict[str, set[str]] = {}
    for entry in bill["dependencies"]:
        for ref in entry.get("dependsOn", []):
            if entry["ref"] in components:
                needed_by.setdefault(ref, set()).add(components[entry["ref"]]["name"])
    missing = PURPOSES.keys() - {_key(one["name"]) for one in components.values()}
    if missing:
        raise ValueError(
            f"the bill lacks {', '.join(sorted(missing))}: make it with the extras node, dicom, pdf and web."
        )
    told = []
    for ref, one in components.items():
        purpose = PURPOSES.get(_key(one["name"]))
        said = purpose or f"needed by {', '.join(sorted(needed_by.get(ref, {'no package'}), key=str.lower))}"
        row = f"| {one['name']} | {one['version']} | {_licence(one)} | {said} |"
        told.append((purpose is None, one["name"].lower(), row))
    return [row for _, _, row in sorted(told)]


def _key(name: str) -> str:
    """Return a name of a package as the package index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(component: dict[str, Any]) -> str:
    found = []
    for one in component.get("licenses", []):
        inner = one.get("license", {})
        name = one.get("expression") or inner.get("id") or inner.get("name", "")
        # Some packages give the whole text, or the classifier of the package index, as the name.
        name = name.splitlines()[0].removeprefix("License :: OSI Approved :: ")[:100] if name.strip() else ""
        if name and name not in found:
            found.append(name)
    return "; ".join(found) or "not told"


def page(text: str, bill: dict[str, Any]) -> str:
    """Return the page with its table written again."""
    table = "\n".join(("| package | version | licence | what for |", "|---|---|---|---|", *rows(bill)))
    pattern = re.compile(rf"({re.escape(START)}\n\n).*?(\n\n{re.escape(END)})", re.DOTALL)
    changed, count = pattern.subn(lambda found: found[1] + table + found[2], text)
    if count != 1:
        raise ValueError("docs/device.md must have the table of packages once.")
    return changed


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), told), encoding="utf-8")
