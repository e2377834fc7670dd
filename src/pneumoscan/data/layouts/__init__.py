"""Read a `Manifest` from a folder by split and class, a CSV table, arrays in an `.npz` file, or a published set."""

from pneumoscan.data.layouts.load import LAYOUTS, TABLE_NAMES, load_manifest
from pneumoscan.data.layouts.sources import Sources, absolute, as_words, called, load_sites

__all__ = [
    "LAYOUTS",
    "TABLE_NAMES",
    "Sources",
    "absolute",
    "as_words",
    "called",
    "load_manifest",
    "load_sites",
]
