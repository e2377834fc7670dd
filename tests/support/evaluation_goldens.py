"""Digests of what evaluate, adapt, card and data inspect say about small synthetic films. `python tests/support/evaluation_goldens.py` writes
those of this machine.

Figures are held to the last digit, pages by their visible words. Another processor or library adds in another order, so the digests of a
machine hold for machines of its kind.
"""

import hashlib
import html
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import sklearn
from product_model import write_films, write_model
from train_goldens import machine as train_machine

from pneumoscan.adapt import adapt
from pneumoscan.adapt.adaptation import write_report
from pneumoscan.audit import inspect, summary_lines, write_inspection
from pneumoscan.bundle.load import load_bundle
from pneumoscan.card import card, read_records
from pneumoscan.data.layouts import load_sites
from pneumoscan.evaluate import areas_by_site, evaluate

GOLDENS = Path(__file__).parents[1] / "evaluation" / "goldens.json"
ADAPTED = (
    "name",
    "temperature",
    "thresholds",
    "default_operating_point",
    "training",
    "calibration",
    "adaptation",
    "self_check",
)
VOLATILE = ("created", "pneumoscan_version", "seconds", "files", "checksum", "date")


def machine() -> str:
    """Return what the last bits of a figure depend on."""
    return f"{train_machine()}, scikit-learn {sklearn.__version__}, matplotlib {mpl.__version__}"


def write_all(root: Path) -> None:
    """Write films of two sites, a model, and what the four commands say about them, into a folder."""
    for number, site in enumerate("ab"):
        for place, split in enumerate(("train", "test")):
            seed = 1 + 2 * number + place
            write_films(root / site, films=48, shift=3.0 * number, gap=3.0, seed=seed, split=split)
    broken = root / "a" / "test" / "NORMAL" / "IM-0999-0001.png"
    broken.write_bytes(b"no film")
    copied = next((root / "a" / "test" / "PNEUMONIA").iterdir())
    (root / "b" / "test" / "NORMAL" / "IM-0998-0001.png").write_bytes(copied.read_bytes())
    model = write_model(root / "model", guarded=True)
    here = Path.cwd()
    os.chdir(root)
    try:
        sites = ("a=a", "b=b")
        evaluate(Path("model"), sites, split="test", out=Path("evaluated"), stress=True, command="evaluate")
        bundle = load_bundle(Path("model"))
        manifest = load_sites(sites)
        audit = inspect(manifest, network="model", areas=areas_by_site(bundle, manifest))
        write_inspection(Path("inspected"), audit, manifest)
        (root / "inspected" / "summary.txt").write_text("\n".join(summary_lines(audit)))
        for name in "ab":
            found = adapt(Path("model"), Path(name), out=Path(f"adapted-{name}"))
            write_report(Path(f"report-{name}"), found)
            written = root / f"adapted-{name}"
            if written.exists():
                (written / "card.md").write_text(card(read_records(written, None)))
    finally:
        os.chdir(here)
    (model / "card.md").write_text(card(read_records(model, None)))


def digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that `write_all` wrote, without times and versions."""
    folders = ("evaluated", "inspected", "adapted-a", "adapted-b", "report-a", "report-b", "model")
    paths = sorted(path for name in folders for path in (root / name).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): _digest(path) for path in paths if path.suffix != ".png"}


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".json":
        facts = json.loads(data)
        if path.name == "model.json":
            facts = {key: facts.get(key) for key in ADAPTED}
        data = json.dumps(_stable(facts), sort_keys=True).encode()
    elif path.suffix in {".html", ".md", ".txt"}:
        data = words(data.decode()).encode()
    return hashlib.sha256(data).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if key not in VOLATILE}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def words(page: str) -> str:
    """Return the visible text of a page and the texts for its pictures, without white space, versions and times."""
    if page.lstrip().lower().startswith("<!doctype"):
        page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
        page = re.sub(r'<img[^>]*\balt="([^"]*)"[^>]*>', r" \1 ", page)
        page = html.unescape(re.sub(r"<[^>]*>", "", page))
    page = re.sub(r"Python \d[^,\n]*, pneumoscan.*", "", page)
    page = re.sub(r"(pneumoscan |Python )\d+\.\d+\S*|\d{4}-\d\d-\d\dT\S+|· \d+ s ·", "", page)
    return "".join(page.split())


def main() -> None:
    """Write the digests of this machine beside those of others."""
    known = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        write_all(root)
        known[machine()] = digests(root)
    GOLDENS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{len(known[machine()])} files for {machine()}\n")


if __name__ == "__main__":
    main()
