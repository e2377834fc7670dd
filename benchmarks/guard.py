"""How well a bundle's guard tells what is no upright chest film, and how often it warns of films that are.

python benchmarks/guard.py --model RUN_OR_BUNDLE --data DIR --out results/guard.json

Real films are those that the run of the bundle held out (its split.csv), the guard's false alarms being of no interest on
films it was fitted to; as they are, changed as another machine might show them, and turned. The other pictures are drawn.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from not_chest import DRAWN, TURNED, drawn

from pneumoscan.data.layouts import load_manifest
from pneumoscan.data.manifest import Manifest
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import FilmError
from pneumoscan.files import write_json
from pneumoscan.imaging import Film, preprocess, read
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.inference.bundle import Bundle, load_bundle

SCHEMA_VERSION = 1
CUTS = ("unusual", "not_a_chest_film")


def measure(bundle: Bundle, manifest: Manifest, *, films: int, pictures: int) -> dict[str, Any]:
    """Return the shares of real and drawn pictures at or beyond each cut-off, by kind.

    Args:
        bundle: With a guard.
        manifest: Films that the guard was not fitted to.
        films: How many of them at most, evenly picked.
        pictures: How many of each drawn kind.
    """
    chosen = read_films(manifest, films)
    own: dict[str, Callable[[Film], Film]] = {"as_it_is": lambda film: film}
    own |= {change.name: change.apply for change in PERTURBATIONS}
    turned = {name: in_pixels(change) for name, change in TURNED.items()}
    return {
        "n_films": len(chosen),
        "n_pictures": pictures,
        "films": {name: shares(bundle, map(change, chosen)) for name, change in own.items()},
        "turned": {name: shares(bundle, map(change, chosen)) for name, change in turned.items()},
        "drawn": {
            kind: shares(bundle, (film_of(drawn(kind, seed)) for seed in range(pictures))) for kind in DRAWN
        },
    }


def shares(bundle: Bundle, films: Iterable[Film]) -> dict[str, float]:
    """Return which share of some films is at or beyond each cut-off."""
    guard = bundle.spec.guard
    assert guard is not None
    distances = np.array([distance_of(bundle, film) for film in films])
    return {name: round(float((distances >= guard[name]).mean()), 4) for name in CUTS}


def distance_of(bundle: Bundle, film: Film) -> float:
    distance = bundle.run(preprocess(film, bundle.spec.preprocessing)[None, None]).distance
    assert distance is not None
    return float(distance[0])


def read_films(manifest: Manifest, count: int) -> list[Film]:
    """Return at most `count` films of a table, evenly picked; those that cannot be read are left out."""
    found = []
    for record in manifest.films[:: max(1, -(-len(manifest) // count))]:
        try:
            found.append(manifest.read(record))
        except FilmError as problem:
            print(problem, file=sys.stderr)
    return found


def held_out(bundle: Bundle, data: Path) -> tuple[Manifest, str]:
    """Return the films that the bundle's run held out, or all of the split train if that is not known; and which."""
    train = load_manifest(data).of_split("train")
    table = bundle.path.parent / "split.csv"
    if table.is_file():
        return train.take(read_split_csv(table, train).val), "held out by the run"
    return train, "the split train, which the guard may have been fitted to: false alarms are flattered"


def film_of(pixels: npt.NDArray[np.uint8]) -> Film:
    """Return drawn pixels as a film; the reader refuses one colour, the guard is asked all the same."""
    some = np.indices(pixels.shape).sum(0).astype(np.uint8)
    return replace(read(some), pixels=pixels)


def in_pixels(change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Callable[[Film], Film]:
    return lambda film: replace(film, pixels=np.ascontiguousarray(change(film.pixels)))


def milliseconds(bundle: Bundle, rounds: int = 300) -> dict[str, float]:
    """Return the median time of one film with and without the guard, in turn, on one thread."""
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


def main() -> None:
    """Measure one bundle and write the record."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--model", type=Path, required=True, help="a bundle, or a run with one")
    line.add_argument("--data", type=Path, required=True, help="the films that it was trained on")
    line.add_argument("--out", type=Path, required=True, help="the record, JSON")
    line.add_argument("--films", type=int, default=1000, help="real films at most")
    line.add_argument("--pictures", type=int, default=100, help="drawn pictures of each kind")
    options = line.parse_args()
    bundle = load_bundle(options.model)
    if bundle.spec.guard is None:
        raise SystemExit(f"{options.model} has no guard")
    manifest, which = held_out(bundle, options.data)
    record = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python " + shlex.join(sys.argv),
        "model": f"{bundle.spec.name}@{bundle.spec.files['model.onnx'][:12]}",
        "guard": {name: bundle.spec.guard[name] for name in CUTS},
        "films_are": which,
        **measure(bundle, manifest, films=options.films, pictures=options.pictures),
        "milliseconds": milliseconds(bundle),
    }
    write_json(options.out, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
