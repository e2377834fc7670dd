"""A process that reads films for the service, one at a time, with limits, until its socket closes.

    python -P -m pneumoscan.workers.worker SOCKET MODEL MEMORY_MB PARENT

SOCKET is the number of an inherited socket (`protocol`), MEMORY_MB the memory limit in addition to the loaded model, and PARENT the
process that started it. `process` starts it.

The decoders process untrusted bytes first. A worker therefore cannot write files, start processes or gain privileges, writes no core dump
(which would contain a film of a patient), and ends with its parent. It has no time limit; the pool limits the time of a film.
"""

import gc
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import EnvironmentProblemError, FilmCrashError, PneumoscanError
from pneumoscan.system import confine, end_with_parent
from pneumoscan.workers import protocol

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle

_MAX_OPEN_FILES = 32

Read = Callable[[bytes, float, protocol.Want], protocol.Reading]


def main(arguments: list[str], load: Callable[[Path], Read] | None = None) -> int:
    """Load the model, report this, and read films until the socket closes; return the exit code.

    Args:
        arguments: See the module.
        load: Returns the function that reads a film with the model in a folder; by default `reading.read_film`.
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
    sock.sendall(protocol.answer(0, protocol.Reading({})))
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
    from pneumoscan.workers.reading import too_large

    number = head["number"]
    if film is None:
        return protocol.refusal(number, too_large())
    try:
        want = protocol.Want(head["heatmap"], head["picture"], head.get("lungs", False), head.get("more", {}))
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
    """Load the model. The imports are here, so that a missing package is reported on the socket."""
    from functools import partial

    from pneumoscan.bundle.load import load_bundle
    from pneumoscan.workers.reading import read_film

    bundle: Bundle = load_bundle(model, threads=1)
    gc.collect()
    gc.freeze()
    return partial(read_film, bundle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
