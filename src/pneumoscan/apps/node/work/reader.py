"""A process that reads films for the node and makes their results: `workers.worker`, with another reader.

    python -P -m pneumoscan.apps.node.work.reader SOCKET MODEL MEMORY_MB PARENT

Decoding the film and drawing the picture both take strangers' pixels, so both happen here, under the worker's limits.
"""

import dataclasses
import gc
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan.apps.node.results import Finding, Writer, make_results, pixels_sha256_of
from pneumoscan.workers import worker
from pneumoscan.workers.protocol import Reading, Want
from pneumoscan.workers.reading import too_large

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.imaging import Film

COMMAND = (sys.executable, "-P", "-m", "pneumoscan.apps.node.work.reader")


def request(writer: Writer, made_at: datetime | None, character_set: str, pixels_sha256: str = "") -> Want:
    """Return what a film's finding is asked for with.

    Args:
        writer: Makes the results.
        made_at: The time that they carry; None for a finding without results.
        character_set: Of films that declare none; see `make_results`.
        pixels_sha256: Of the film's decoded pixels, if it is known.
    """
    asked = {
        "writer": dataclasses.asdict(writer),
        "made_at": None if made_at is None else made_at.isoformat(),
        "character_set": character_set,
        "pixels_sha256": pixels_sha256,
    }
    return Want(more=asked)


def read_film(bundle: "Bundle", film: bytes, threshold: float, want: Want) -> Reading:
    """Read one film; the row is that of `pneumoscan predict` and the SHA-256 of the pixels, the files are the report and the picture.

    Raises:
        FilmError: The film is refused.
        BundleError: The network does not run.
    """
    from pneumoscan.classifier import find_in
    from pneumoscan.imaging import read

    try:
        seen = read(film)
        found = find_in(bundle, seen, threshold)
        row = found.row.to_json()
        row["pixels_sha256"] = want.more["pixels_sha256"] or pixels_sha256_of(film)
        if want.more["made_at"] is None:
            return Reading(row)
        return _with_results(film, seen, row, want.more)
    except MemoryError:
        raise too_large() from None


def _with_results(
    content: bytes,
    film: "Film",
    row: dict[str, Any],
    asked: Mapping[str, Any],
) -> Reading:
    writer = Writer(**asked["writer"])
    finding = Finding(
        label=row["label"],
        probability=row["probability"],
        threshold=row["threshold"],
        operating_point=writer.operating_point,
        warnings=tuple(row["warnings"]),
        site=row["site"],
    )
    moment = datetime.fromisoformat(asked["made_at"])
    made = make_results(
        content,
        finding,
        writer,
        made_at=moment,
        undeclared=asked["character_set"],
        film=film,
        pixels_sha256=row["pixels_sha256"],
    )
    objects = [{"kind": one.kind, "sop_instance_uid": one.sop_instance_uid} for one in made]
    return Reading(row | {"results": objects}, files=tuple(one.content for one in made))


def _load(model: Path) -> worker.Read:
    """Load the model and what results are made with: once the process is confined, nothing more can be."""
    from pneumoscan.apps.node.results import picture
    from pneumoscan.apps.node.results.making import warm_up
    from pneumoscan.bundle.load import load_bundle

    del picture  # imported here, for the limits count what comes later
    warm_up()
    bundle = load_bundle(model, threads=1)
    gc.collect()
    gc.freeze()
    return partial(read_film, bundle)


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], _load))
