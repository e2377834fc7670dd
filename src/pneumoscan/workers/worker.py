"""A process that reads films for the service, one at a time, with limits, until its socket closes.

    python -P -m pneumoscan.workers.worker SOCKET MODEL MEMORY_MB PARENT

SOCKET is the number of an inherited socket (`protocol`), MEMORY_MB the memory limit in addition to the loaded model, and PARENT the
process that started it. `process` starts it.

The decoders process untrusted bytes first. A worker therefore cannot write files, start processes or gain privileges, writes no core dump
(which would contain a film of a patient), and ends with its parent. It has no time limit; the pool limits the time of a film.
"""

import gc
import hashlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import EnvironmentProblemError, FilmCrashError, FilmTooLargeError, PneumoscanError
from pneumoscan.system import confine, end_with_parent
from pneumoscan.workers import protocol
from pneumoscan.workers.protocol import Reading, Want

if TYPE_CHECKING:
    from PIL import Image

    from pneumoscan.bundle.load import Bundle
    from pneumoscan.classifier import FilmResult
    from pneumoscan.imaging import Film

MAX_PICTURE_SIDE = 2048
_MAX_OPEN_FILES = 32

Read = Callable[[bytes, float, Want], Reading]


def main(arguments: list[str], load: Callable[[Path], Read] | None = None) -> int:
    """Load the model, report this, and read films until the socket closes; return the exit code.

    Args:
        arguments: See the module.
        load: Returns the function that reads a film with the model in a folder; by default `read_film`.
    """
    descriptor, model, memory_mb, parent = arguments
    sock = socket.socket(fileno=int(descriptor))
    end_with_parent()
    if os.getppid() != int(parent):  # it ended before `end_with_parent` was in effect
        return 0
    try:
        read = (load or _reader)(Path(model))
        confine(memory=int(memory_mb) << 20, open_files=_MAX_OPEN_FILES)
    except PneumoscanError as problem:
        sock.sendall(protocol.refusal(0, problem))
        return 1
    except Exception as problem:  # noqa: BLE001 - stderr is closed, so the error is sent on the socket
        refusal = EnvironmentProblemError(f"a worker cannot start: {type(problem).__name__}: {problem}")
        sock.sendall(protocol.refusal(0, refusal))
        return 1
    sock.sendall(protocol.answer(0, Reading({})))
    return serve(sock, read)


def serve(sock: socket.socket, read: Read) -> int:
    """Answer the requests on the socket until it closes; return the exit code.

    Raises:
        OSError, ProtocolError: The other end is not a pool, or ended within a message.
    """
    while (asked := protocol.receive(sock)) is not None:
        head, film = asked
        sock.sendall(_answer(read, head, film))
        # No film stays in memory while the worker waits for the next one.
        del asked, film
    return 0


def _answer(read: Read, head: dict[str, Any], film: bytes | None) -> bytes:
    number = head["number"]
    if film is None:
        return protocol.refusal(number, too_large())
    try:
        want = Want(head["heatmap"], head["picture"], head.get("lungs", False), head.get("more", {}))
        return protocol.answer(number, read(film, head["threshold"], want))
    except PneumoscanError as problem:
        return protocol.refusal(number, problem)
    except MemoryError:
        return protocol.refusal(number, too_large())
    except Exception as problem:  # noqa: BLE001 - an error in the program must affect only this film
        what = f"reading <bytes> failed unexpectedly ({type(problem).__name__})."
        return protocol.refusal(
            number, FilmCrashError(what, "Leave the film out, and report the error if possible.")
        )


def _reader(model: Path) -> Read:
    """Load the model. Imports are in functions, so that a missing package is reported on the socket."""
    from pneumoscan.bundle.load import load_bundle

    bundle: Bundle = load_bundle(model, threads=1)
    gc.collect()
    gc.freeze()
    return partial(read_film, bundle)


def read_film(bundle: "Bundle", film: bytes, threshold: float, want: Want) -> Reading:
    """Read one film; its row is that of `pneumoscan predict`.

    Args:
        bundle: The model.
        film: The bytes of a file: JPEG, PNG or DICOM.
        threshold: Threshold in [0, 1].
        want: The requested pictures.

    Raises:
        FilmError: The film is refused; the subclass gives the reason.
        BundleError: The network does not run.
    """
    from pneumoscan.classifier import NOT_A_CHEST_FILM, find_in
    from pneumoscan.imaging import read

    try:
        seen = read(film)
        finding = find_in(bundle, seen, threshold)
        facts: dict[str, Any] = {
            "sha256": hashlib.sha256(film).hexdigest(),
            "logit": None if finding.row.label == NOT_A_CHEST_FILM else finding.logit,
            "distance": finding.distance,
            "width": seen.width,
            "height": seen.height,
            "format": seen.format,
        }
        if want.lungs:
            facts["lungs"] = None if finding.lungs is None else finding.lungs.to_json()
            # Also for NORMAL films, because the page changes the threshold without reading a film again.
            found = finding.regions(bundle, always=True)
            facts["regions"] = None if found is None else found.to_json()
        return Reading(
            finding.row.to_json() | facts,
            _heatmap(bundle, seen, finding) if want.heatmap else None,
            _picture(seen) if want.picture else None,
            (_document(seen, finding, facts, want.more["document"]),) if "document" in want.more else (),
        )
    except MemoryError:
        raise too_large() from None


def too_large() -> FilmTooLargeError:
    """Return the error for a film that exceeds the memory of a worker."""
    return FilmTooLargeError("<bytes> does not fit in memory.", "A film has a few million pixels.")


def _heatmap(bundle: "Bundle", film: "Film", finding: "FilmResult") -> bytes | None:
    from pneumoscan.bundle.heatmap import evidence_of, transparency
    from pneumoscan.classifier import NOT_A_CHEST_FILM

    if finding.activation_map is None or finding.row.label == NOT_A_CHEST_FILM:
        return None

    return _png(transparency(film, evidence_of(bundle, finding.activation_map, finding.lungs)))


def _document(
    film: "Film", finding: "FilmResult", facts: Mapping[str, Any], asked: Mapping[str, str]
) -> bytes:
    from pneumoscan.predict.document import Words, pdf_of

    words = Words(asked["title"] or "film", facts["sha256"], asked["operating_point"])
    return pdf_of(film, finding.row, words, finding.lungs.outlines() if finding.lungs else ())


def _picture(film: "Film") -> bytes:
    from PIL import Image

    image = Image.fromarray(film.pixels)
    # In place, with the shape of the film.
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _png(image)


def _png(image: "Image.Image") -> bytes:
    file = BytesIO()
    # This level gives a third more bytes than the best one, in a third of the time.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
