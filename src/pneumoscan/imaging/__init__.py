"""From bytes to model input: the reader for films (`film`) and the preprocessing (`preprocessing`)."""

from pneumoscan.imaging.film import Film, FilmSource, read
from pneumoscan.imaging.preprocessing import Preprocessing, preprocess

__all__ = ["Film", "FilmSource", "Preprocessing", "preprocess", "read"]
