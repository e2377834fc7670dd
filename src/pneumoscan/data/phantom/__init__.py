"""Synthetic chest films from a model of a child's chest, to run the whole workflow without films of patients."""

from pneumoscan.data.phantom.film import SYNTHETIC_TEXT, cause_of, draw_film, film_size
from pneumoscan.data.phantom.folder import write_new_films, write_phantom_set
from pneumoscan.data.phantom.plan import PhantomFilm, PlannedFilm, plan_phantom_set

__all__ = [
    "SYNTHETIC_TEXT",
    "PhantomFilm",
    "PlannedFilm",
    "cause_of",
    "draw_film",
    "film_size",
    "plan_phantom_set",
    "write_new_films",
    "write_phantom_set",
]
