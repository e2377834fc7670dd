"""Synthetic chest films from a model of a child's chest, to run the whole workflow without films of patients.

canvas.py     the projection plane, its shapes, and trees of vessels and bronchi
patient.py    the body, the position on a film, and the pneumonia
anatomy.py    the chest as path lengths: soft parts, lungs, bones
rendering.py  from path lengths to the pixels and the file of a film
sets.py       the plan of a set, and its folder
"""

from pneumoscan.phantom.rendering import SYNTHETIC_TEXT, cause_of, draw_film, film_size
from pneumoscan.phantom.sets import (
    PhantomFilm,
    PlannedFilm,
    plan_phantom_set,
    write_new_films,
    write_phantom_set,
)

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
