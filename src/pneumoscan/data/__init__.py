"""Sets of films: the table (`manifest`, `layouts`), its parts (`splits`), its pixels (`cache`), and the download (`fetch`)."""

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.cache import FilmCache, RefusedFilm, open_cache
from pneumoscan.data.layouts import combine, load_manifest, load_sites
from pneumoscan.data.manifest import SPLITS, FilmRecord, Manifest, Split
from pneumoscan.data.splits import HoldOut, hold_out, read_split_csv, write_split_csv

__all__ = [
    "CLASS_NAMES",
    "SPLITS",
    "FilmCache",
    "FilmRecord",
    "HoldOut",
    "Manifest",
    "RefusedFilm",
    "Split",
    "combine",
    "hold_out",
    "load_manifest",
    "load_sites",
    "open_cache",
    "read_split_csv",
    "write_split_csv",
]
