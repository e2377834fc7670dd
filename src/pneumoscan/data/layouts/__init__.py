"""From a path to a `Manifest`: a folder by split and class, a table in a CSV file, or arrays in an `.npz` file."""

from pneumoscan.data.layouts.load import LAYOUTS, TABLE_NAMES, load_manifest
from pneumoscan.data.layouts.sources import Sources, load_sites

__all__ = ["LAYOUTS", "TABLE_NAMES", "Sources", "load_manifest", "load_sites"]
