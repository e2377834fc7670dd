"""Measure the out-of-distribution detector: how well it recognises other pictures, and how often it warns of chest films.

The real films are the held-out films of the run: unaltered, altered as by another machine, and turned.
The other pictures are synthetic.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.load import Bundle
from pneumoscan.card.other_pictures import DRAWN, TURNED, drawn
from pneumoscan.classifier import certain_distance, find_in
from pneumoscan.imaging import Film, read
from pneumoscan.imaging.perturbation import PERTURBATIONS

SCHEMA_VERSION = 1
CUTS = ("unusual", "not_a_chest_film")
PICTURES = 100


def measure(
    bundle: Bundle, films: Sequence[Film], *, films_are: str, pictures: int = PICTURES
) -> dict[str, Any]:
    """Return the shares of real and synthetic pictures at or beyond each cut-off, by kind.

    Args:
        bundle: A bundle with `guard`.
        films: Films that the detector was not fitted to.
        films_are: Description of the films, for the card.
        pictures: Number of pictures of each synthetic kind.
    """
    cuts = cuts_of(bundle)
    own: dict[str, Callable[[Film], Film]] = {"as_it_is": lambda film: film}
    own |= {change.name: change.apply for change in PERTURBATIONS}
    turned = {name: in_pixels(change) for name, change in TURNED.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "guard": cuts,
        "films_are": films_are,
        "n_films": len(films),
        "n_pictures": pictures,
        "films": {name: shares(bundle, map(change, films)) for name, change in own.items()},
        "turned": {name: shares(bundle, map(change, films)) for name, change in turned.items()},
        "drawn": {
            kind: shares(bundle, (film_of(drawn(kind, seed)) for seed in range(pictures))) for kind in DRAWN
        },
        "milliseconds": milliseconds(bundle),
    }


def shares(bundle: Bundle, films: Iterable[Film]) -> dict[str, float]:
    """Return which share of some films is at or beyond each cut-off."""
    cuts = cuts_of(bundle)
    distances = np.array([distance_of(bundle, film) for film in films])
    return {name: round(float((distances >= cuts[name]).mean()), 4) for name in CUTS}


def cuts_of(bundle: Bundle) -> dict[str, float]:
    """Return the distances from which a film is at least UNSURE, and NOT_A_CHEST_FILM."""
    cuts = bundle.spec.guard
    assert cuts is not None
    return {"unusual": float(cuts["unusual"]), "not_a_chest_film": certain_distance(cuts)}


def distance_of(bundle: Bundle, film: Film) -> float:
    """Return the distance of a film from the training films."""
    distance = find_in(bundle, film, bundle.spec.threshold()).distance
    assert distance is not None
    return distance


def film_of(pixels: npt.NDArray[np.uint8]) -> Film:
    """Return pixels as a film, also those of one colour, which `read` refuses."""
    some = np.indices(pixels.shape).sum(0).astype(np.uint8)
    return replace(read(some), pixels=pixels)


def in_pixels(change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Callable[[Film], Film]:
    """Return a change of pixels as a change of films."""
    return lambda film: replace(film, pixels=np.ascontiguousarray(change(film.pixels)))


def milliseconds(bundle: Bundle, rounds: int = 300) -> dict[str, float]:
    """Return the median time of one film with and without the detector, in turn, on one thread."""
    size = bundle.spec.preprocessing.size
    film = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    asked = {"without_guard": ["logit"], "with_guard": ["logit", "distance"]}
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, outputs in asked.items():
            start = time.perf_counter()
            bundle.session.run(outputs, {"film": film})
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: round(median(values), 4) for name, values in taken.items()}
