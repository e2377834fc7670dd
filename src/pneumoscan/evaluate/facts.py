"""Cautions of an evaluation, and the facts about its model and films."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.bundle.load import Bundle
from pneumoscan.data.layouts import Sources, as_words
from pneumoscan.data.manifest import FilmRecord, Manifest
from pneumoscan.errors import DataDamagedError
from pneumoscan.evaluate.reading import ReadSplit
from pneumoscan.imaging.preprocessing import squash

HELD_OUT = "held-out"
LOOKS = "looks.json"
_THUMBNAIL = 240


def cautions(bundle: Bundle, read: ReadSplit, split: str, *, synthetic: bool) -> tuple[str, ...]:
    """Return cautions about synthetic films, films that the model has seen, and copies."""
    found = []
    if synthetic:
        found.append(
            "These films are synthetic: the figures show that the program works. They say nothing about patients."
        )
    elif bundle.spec.training.get("synthetic"):
        found.append("The model was trained on synthetic films. It says nothing about real ones.")
    found += _seen_before(bundle, read, split)
    copies = len(read.sha256) - len(set(read.sha256))
    if copies:
        films = "1 film is an exact copy" if copies == 1 else f"{copies:,} films are exact copies"
        found.append(f"{films} of another film of this split; each counts as a separate film.")
    return tuple(found)


def _seen_before(bundle: Bundle, read: ReadSplit, split: str) -> list[str]:
    used = bundle.training_films()
    seen = sum(digest in used for digest in read.sha256)
    found = []
    if split == HELD_OUT:
        found.append(
            "The run held these films out of its training and chose epoch, temperature and thresholds on them: the "
            "figures are somewhat too good."
        )
        if used and seen < len(read.films):
            films = "1 film is" if len(read.films) - seen == 1 else f"{len(read.films) - seen:,} films are"
            found.append(
                f"{films} not among the films that the model was trained or selected on: films or run have changed."
            )
    elif seen:
        films = "1 of these films was" if seen == 1 else f"{seen:,} of these {len(read.films):,} films were"
        found.append(f"{films} used to train or select this model: the figures are too good.")
    elif split == "train":
        found.append(
            "This is the split that models are trained on: the figures of a model trained on it are too good."
        )
    if not used:
        found.append(
            "The model does not list its training films: it is unknown whether it has seen these films."
        )
    return found


def looks_with(out: Path, bundle: Bundle, read: ReadSplit) -> list[dict[str, Any]]:
    """Return the looks at the split `test` that the folder of an evaluation has on record, and this one.

    A record that cannot be read is an error rather than overwritten, because looks must not be forgotten.

    Raises:
        DataDamagedError: `looks.json` in the folder is not what `evaluate` wrote.
    """
    path, looks = out / LOOKS, []
    if path.exists():
        try:
            looks = json.loads(path.read_text(encoding="utf-8"))
            same = [look for look in looks if look["data_sha256"] == read.data_sha256]
        except (OSError, ValueError, TypeError, KeyError):
            raise DataDamagedError(
                f"{path} cannot be read, so earlier looks at these films are unknown.",
                "Restore it from a copy, or choose a new folder for the evaluation.",
            ) from None
    else:
        same = []
    return [
        *looks,
        {
            "look": len(same) + 1,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": bundle.spec.name,
            "network_sha256": bundle.spec.files.get("model.onnx", ""),
            "films": len(read.films),
            "data_sha256": read.data_sha256,
        },
    ]


def last_look(looks: Sequence[Mapping[str, Any]]) -> str:
    """Return the caution about a look at the split `test`, the last one of `looks`."""
    return (
        "The split test is for the last look, after every choice was made: do not choose anything by these figures. This is look "
        f"{looks[-1]['look']} at these films on record in {LOOKS}."
    )


def thumbnails(manifest: Manifest, films: tuple[FilmRecord, ...]) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a function that gives the uint8 image (h, w) of the film at an index."""

    def picture(index: int) -> npt.NDArray[np.uint8]:
        film = manifest.read(films[index])
        return film.pixels if max(film.pixels.shape) <= _THUMBNAIL * 16 else squash(film, _THUMBNAIL)

    return picture


def model_facts(bundle: Bundle) -> dict[str, str]:
    """Return the facts about the model for the report, in order."""
    spec = bundle.spec
    trained = {f"trained with: {key}": _fact(value) for key, value in spec.training.items()}
    return {
        "bundle": str(bundle.path),
        "network SHA-256": spec.files.get("model.onnx", ""),
        "parameters": f"{spec.parameters:,}",
        "preprocessing": _fact(spec.preprocessing.to_json()),
        "temperature": f"{spec.temperature:.4g}",
        **trained,
        "commit": spec.commit,
        "created": spec.created,
        "licence": _fact(spec.licence),
    }


def data_facts(data: Sources, manifest: Manifest, read: ReadSplit) -> dict[str, str]:
    """Return the facts about the films for the report, in order."""
    return {
        "data": as_words(data),
        "layout": manifest.layout,
        "films": f"{len(read.films):,} read, {len(read.refused):,} refused",
        "split SHA-256": read.data_sha256,
    }


def _fact(value: Any) -> str:
    if hasattr(value, "items"):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
