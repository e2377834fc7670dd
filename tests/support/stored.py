"""Results of before, to hold a change of the code against: `PNEUMOSCAN_STORE=1 pytest …` stores those of now.

What is only counted and named holds everywhere; sums of floating-point numbers hold for machines of one kind.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

STORED = Path(__file__).parents[1] / "stored_results.json"
EVERYWHERE = "everywhere"


def digest(value: Any) -> str:
    """Return the SHA-256 of bytes, or of a value as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def table_of(manifest: Any) -> dict[str, Any]:
    """Return the rows and notes of a manifest as JSON types, without the place of the films."""
    names = (
        "path", "label", "split", "patient_id", "cause", "site", "view", "age", "sex", "reading", "mask", "aerated",
        "boxes",
    )  # fmt: skip
    rows = [[getattr(film, name) for name in names] for film in manifest.films]
    notes = [note.replace(str(manifest.root.parent), "") for note in manifest.notes]
    return json.loads(json.dumps({"layout": manifest.layout, "films": rows, "notes": notes}))


def assert_as_stored(name: str, value: Any, *, everywhere: bool = False) -> None:
    """Compare a value of JSON types with the stored one; skip where none is stored for this kind of machine."""
    if everywhere:
        kind = EVERYWHERE
    else:
        from train_goldens import machine

        kind = machine()
    known = json.loads(STORED.read_text()) if STORED.exists() else {}
    if "PNEUMOSCAN_STORE" in os.environ:
        known.setdefault(kind, {})[name] = value
        STORED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if name not in known.get(kind, {}):
        pytest.skip(f"nothing is stored for {kind}")
    assert json.loads(json.dumps(value)) == known[kind][name]
