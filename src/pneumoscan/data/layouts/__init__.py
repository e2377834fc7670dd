"""Read a `Manifest` from a folder by split and class, a CSV table, arrays in an `.npz` file, or a published set.

load.py        which layout is at a path, and several sites in one table
folder.py      folders by split and class; table.py: CSV; arrays.py: `.npz`
known_sets.py  published sets in their original form
"""

from pneumoscan.data.layouts.load import (
    LAYOUTS,
    TABLE_NAMES,
    Sources,
    absolute,
    as_words,
    called,
    combine,
    load_manifest,
    load_sites,
)

__all__ = [
    "LAYOUTS",
    "TABLE_NAMES",
    "Sources",
    "absolute",
    "as_words",
    "called",
    "combine",
    "load_manifest",
    "load_sites",
]
