"""Messages between the service and its workers: a JSON head followed by raw bytes, without pickle.

    8 bytes   length of the head and of the tail, big-endian
    head      a JSON object
    tail      to the worker: a film; from the worker: heatmap, picture and further files, one after the other

Each request has a number, and its answer has the same number, so that no answer can be assigned to another film. Heads to the worker are
`{"number", "threshold", "heatmap", "picture", "lungs", "more"}`. Heads from the worker are `{"number", "row", "heatmap", "picture", "files"}` with
the lengths of the two pictures (null if there is none) and of further files, or `{"number", "code", "message", "remedy"}` for an error
of `pneumoscan.errors`. After a worker has loaded its model, it sends a row with the number 0.
"""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pneumoscan.errors import PneumoscanError

LENGTHS: Final = struct.Struct(">II")
MAX_HEAD = 1 << 18
MAX_TAIL = 512 << 20
_MAX_TEXT = 2000
_CHUNK = 1 << 16


class ProtocolError(Exception):
    """The other end closed the socket, or sent something that is not part of the protocol."""


@dataclass(frozen=True)
class Want:
    """What is requested for a film besides its row.

    Attributes:
        heatmap: Its heatmap as PNG, RGBA, transparent where there is no evidence for PNEUMONIA; longer side 512.
        picture: The film as PNG, 8-bit grey, as `imaging.read` returns it; longer side at most 2048.
        lungs: The outlines of its lungs and the regions of evidence in them, in the row.
        more: Further input as JSON types: for a PDF, `document`, its title and the operating point; or for a reader of another app.
    """

    heatmap: bool = False
    picture: bool = False
    lungs: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """The answer for one film.

    Attributes:
        row: The columns of `rows.PredictionRow`, and `sha256` (of the bytes), `logit` (None for NOT_A_CHEST_FILM), `distance`
            (None if the model has none), `width`, `height`, `format`; `lungs` and `regions` if they were requested (None if the model does not look for them).
        heatmap: PNG, if it was requested and the model has a map.
        picture: PNG, if it was requested.
        files: The PDF, if it was requested; or further results of the reader of another app.
    """

    row: dict[str, Any]
    heatmap: bytes | None = None
    picture: bytes | None = None
    files: tuple[bytes, ...] = ()


def frame(head: dict[str, Any], tail_bytes: int = 0) -> bytes:
    """Return the lengths and the head of a frame; a tail of that many bytes must follow.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(head, allow_nan=False).encode()
    return LENGTHS.pack(len(text), tail_bytes) + text


def lengths(prefix: bytes | bytearray) -> tuple[int, int]:
    """Return the lengths of head and tail.

    Raises:
        ProtocolError: They are too large.
    """
    head, tail = LENGTHS.unpack(prefix)
    if head > MAX_HEAD or tail > MAX_TAIL:
        raise ProtocolError("answered with something else than a frame")
    return head, tail


def head_of(text: bytes | bytearray) -> dict[str, Any]:
    """Return the head of a frame.

    Raises:
        ProtocolError: It is not a JSON object.
    """
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise ProtocolError("answered with something else than a frame")
    return head


def question(number: int, film: bytes, threshold: float, want: Want) -> bytes:
    """Return the bytes that are sent to a worker before the film."""
    asked = {
        "threshold": threshold,
        "heatmap": want.heatmap,
        "picture": want.picture,
        "lungs": want.lungs,
        "more": dict(want.more),
    }
    return frame({"number": number, **asked}, len(film))


def answer(number: int, reading: Reading) -> bytes:
    """Return a whole frame with a reading."""
    pictures = (reading.heatmap, reading.picture)
    sizes = [None if picture is None else len(picture) for picture in pictures]
    head = {"number": number, "row": reading.row, "heatmap": sizes[0], "picture": sizes[1]}
    head["files"] = [len(file) for file in reading.files]
    tail = b"".join(part for part in (*pictures, *reading.files) if part)
    return frame(head, len(tail)) + tail


def refusal(number: int, problem: PneumoscanError) -> bytes:
    """Return a whole frame with an error."""
    fields = {"message": problem.message[:_MAX_TEXT], "remedy": problem.remedy[:_MAX_TEXT]}
    return frame({"number": number, "code": problem.code, **fields})


def reading_from(head: dict[str, Any], tail: bytes, number: int) -> Reading:
    """Return the reading that a worker sent.

    Raises:
        PneumoscanError: The worker sent an error: the same class, with the same message and remedy.
        ProtocolError: It is not an answer to the request with that number.
    """
    if head.get("number") != number:
        raise ProtocolError("answered another question")
    if "code" in head:
        raise _error_from(head)
    row, files = head.get("row"), head.get("files", [])
    if not isinstance(row, dict) or not isinstance(files, list):
        raise ProtocolError("answered with something else than a reading")
    heatmap, picture, *made = _cut([head.get("heatmap"), head.get("picture"), *files], tail)
    return Reading(row, heatmap, picture, tuple(part or b"" for part in made))


def _cut(sizes: list[Any], tail: bytes) -> list[bytes | None]:
    """Divide a tail into pieces of these sizes; None if a size is None."""
    legal = all(size is None or (type(size) is int and size >= 0) for size in sizes)
    if not legal or sum(size or 0 for size in sizes) != len(tail):
        raise ProtocolError("answered with something else than a reading")
    parts: list[bytes | None] = []
    at = 0
    for size in sizes:
        parts.append(None if size is None else tail[at : at + size])
        at += size or 0
    return parts


def receive(sock: socket.socket) -> tuple[dict[str, Any], bytes | None] | None:
    """Wait for a frame on a blocking socket.

    Returns:
        Head and tail; the tail is None if it did not fit into memory and was discarded. None at the end of the connection.

    Raises:
        ProtocolError: The data are not a frame, or end within one.
    """
    prefix = _exactly(sock, LENGTHS.size)
    if not prefix:
        return None
    head_bytes, tail_bytes = lengths(prefix)
    head = head_of(_exactly(sock, head_bytes))
    try:
        return head, _exactly(sock, tail_bytes)
    except MemoryError:
        _discard(sock, tail_bytes)
        return head, None


def _exactly(sock: socket.socket, count: int) -> bytes:
    """Receive `count` bytes; none at the end of the connection."""
    data = sock.recv(count, socket.MSG_WAITALL) if count else b""
    while data and len(data) < count:  # a signal came between
        more = sock.recv(count - len(data), socket.MSG_WAITALL)
        data = data + more if more else b""
    if count > LENGTHS.size and not data:
        raise ProtocolError("ended in the middle of a frame")
    return data


def _discard(sock: socket.socket, count: int) -> None:
    while count > 0 and (data := sock.recv(min(count, _CHUNK))):
        count -= len(data)


def _error_from(head: dict[str, Any]) -> PneumoscanError:
    kind = _kinds().get(str(head["code"]))
    if kind is None:
        raise ProtocolError("answered with an error that is not known")
    return kind(str(head.get("message", "")), str(head.get("remedy", "")))


def _kinds() -> dict[str, type[PneumoscanError]]:
    """Return the classes of `pneumoscan.errors` by their codes."""
    found: dict[str, type[PneumoscanError]] = {}
    pending = [PneumoscanError]
    while pending:
        kind = pending.pop()
        found.setdefault(kind.code, kind)
        pending += kind.__subclasses__()
    return found
