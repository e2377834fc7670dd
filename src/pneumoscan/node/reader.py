"""The model, and the process that reads films with it and makes their results: `workers.worker`, with another reader.

    python -P -m pneumoscan.node.reader SOCKET MODEL MEMORY_MB PARENT

Decoding the film and drawing the picture both take strangers' pixels, so both happen there, under the worker's limits.
"""

import dataclasses
import gc
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import astuple
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan import __version__
from pneumoscan.bundle.contents import SPEC, pretrained_bundle
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.bundle.regions import Side, measured_in_words
from pneumoscan.files import sha256_of
from pneumoscan.node.header import pixels_sha256_of
from pneumoscan.node.results import Finding, Writer, make_results
from pneumoscan.node.results.finding import Outline
from pneumoscan.node.settings import Config
from pneumoscan.workers import worker
from pneumoscan.workers.protocol import Reading, Want

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pneumoscan.bundle.heatmap import Evidence
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.classifier import FilmResult
    from pneumoscan.imaging import Film


def load_model(config: Config) -> Bundle:
    """Load the configured model, which proves itself by its known answers.

    Raises:
        UsageError: There is no such folder.
        BundleError: The bundle is incomplete or altered, or fails its self-check.
    """
    return load_bundle(config.path(config.node.model) or pretrained_bundle())


def writer_of(config: Config, bundle: Bundle) -> Writer:
    """Return who writes the results with this model.

    Raises:
        ConfigError: The model has no such operating point.
    """
    point = config.node.operating_point or bundle.spec.default_operating_point
    return Writer(
        model_name=bundle.spec.name,
        model_json_sha256=sha256_of(bundle.path / SPEC),
        onnx_sha256=bundle.spec.files["model.onnx"],
        pneumoscan_version=__version__,
        operating_point=point,
        threshold=bundle.spec.threshold(point),
        manufacturer=config.node.manufacturer,
    )


def reading_of(writer: Writer) -> str:
    """Return a short name for readings by this writer: 16 hexadecimal digits that are others for any other writer."""
    return hashlib.sha256(repr(astuple(writer)).encode()).hexdigest()[:16]


_QUALITY = 85
COMMAND = (sys.executable, "-P", "-m", "pneumoscan.node.reader")


def request(
    writer: Writer,
    made_at: datetime | None,
    character_set: str,
    pixels_sha256: str = "",
    *,
    pictured: bool = False,
    state: bool = False,
) -> Want:
    """Return the request for a film's finding and results.

    Args:
        writer: Makes the results.
        made_at: The time that they carry; None for a finding without results.
        character_set: Of films that declare none; see `make_results`.
        pixels_sha256: Of the film's decoded pixels, if it is known.
        pictured: Whether the picture is made as a JPEG where no results are.
        state: Whether a presentation state is made too.
    """
    options = {
        "writer": dataclasses.asdict(writer),
        "made_at": None if made_at is None else made_at.isoformat(),
        "character_set": character_set,
        "pixels_sha256": pixels_sha256,
        "pictured": pictured,
        "state": state,
    }
    return Want(more=options)


def read_film(bundle: "Bundle", film: bytes, threshold: float, want: Want) -> Reading:
    """Read one film; the row is that of `pneumoscan predict` and the SHA-256 of the pixels, the files are the results.

    Raises:
        FilmError: The film is refused.
        BundleError: The network does not run.
    """
    from pneumoscan.bundle.heatmap import evidence_of
    from pneumoscan.classifier import find_in
    from pneumoscan.imaging import read

    try:
        seen = read(film)
        found = find_in(bundle, seen, threshold)
        row = found.row.to_json()
        row["pixels_sha256"] = want.more["pixels_sha256"] or pixels_sha256_of(film)
        evidence = None
        if found.activation_map is not None and bundle.spec.preprocessing.input == "lungs":
            evidence = evidence_of(bundle, found.activation_map, found.lungs)
        if want.more["made_at"] is None:
            finding = _finding_of(bundle, found, Writer(**want.more["writer"]))
            files = (_picture(seen, finding, want.more, evidence),) if want.more["pictured"] else ()
            return Reading(row, files=files)
        finding = _finding_of(bundle, found, Writer(**want.more["writer"]))
        return _with_results(film, seen, row, finding, want.more, evidence)
    except MemoryError:
        raise worker.too_large() from None


def _finding_of(bundle: "Bundle", found: "FilmResult", writer: Writer) -> Finding:
    """Return what goes into the results of a film, with its regions if it has any."""
    row, regions = found.row, found.regions(bundle)
    finding = Finding(
        label=row.label,
        probability=row.probability,
        threshold=row.threshold,
        operating_point=writer.operating_point,
        warnings=tuple(row.warnings),
    )
    if found.lungs is None or regions is None or not regions.regions:
        return finding
    lungs = zip(found.lungs.sides(), found.lungs.outlines(), strict=True)
    fields: dict[Side, float | None] = {"right": regions.right, "left": regions.left}
    return dataclasses.replace(
        finding,
        regions=tuple(Outline(one.side, _points(one.outline), one.share) for one in regions.regions),
        lungs=tuple(Outline(side, _points(outline)) for side, outline in lungs),
        fields=tuple((side, share) for side, share in fields.items() if share is not None),
        measured=measured_in_words(bundle.spec)[-1],
    )


def _points(outline: "npt.NDArray[np.float64]") -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in outline)


def _with_results(
    content: bytes,
    film: "Film",
    row: dict[str, Any],
    finding: Finding,
    options: Mapping[str, Any],
    evidence: "Evidence | None",
) -> Reading:
    moment = datetime.fromisoformat(options["made_at"])
    made = make_results(
        content,
        finding,
        Writer(**options["writer"]),
        made_at=moment,
        undeclared=options["character_set"],
        film=film,
        pixels_sha256=row["pixels_sha256"],
        evidence=evidence,
        state=options["state"],
    )
    objects = [{"kind": one.kind, "sop_instance_uid": one.sop_instance_uid} for one in made]
    return Reading(row | {"results": objects}, files=tuple(one.content for one in made))


def _picture(
    film: "Film", finding: Finding, options: Mapping[str, Any], evidence: "Evidence | None"
) -> bytes:
    from pneumoscan.node.results.picture import draw

    file = BytesIO()
    draw(film, finding, Writer(**options["writer"]), evidence).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _load(model: Path) -> worker.Read:
    """Load the model and what results are made with: once the process is confined, nothing more can be."""
    from pneumoscan.bundle.load import load_bundle
    from pneumoscan.node.results import warm_up

    warm_up()  # imports what makes results, too: the limits count what comes later
    bundle = load_bundle(model, threads=1)
    gc.collect()
    gc.freeze()
    return partial(read_film, bundle)


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], _load))
