"""From bytes to model input. Read in this order: `film` (the reader), `lungs` (where they are), `preprocessing` (what a network sees)."""

from pneumoscan.imaging.film import Film, FilmSource, read
from pneumoscan.imaging.preprocessing import Preprocessing, preprocess

__all__ = ["Film", "FilmSource", "Preprocessing", "preprocess", "read"]
