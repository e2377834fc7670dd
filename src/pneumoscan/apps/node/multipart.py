"""Bodies of the type `multipart/related` (RFC 2387), as DICOMweb sends and takes objects (PS3.18, 8.6)."""

import re
import secrets
from collections.abc import Sequence

_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,200})"?', re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
DICOM = "application/dicom"


def encode(objects: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the content type and the body that send DICOM files."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
    body = b"".join(head + one + b"\r\n" for one in objects)
    return f'multipart/related; type="{DICOM}"; boundary={boundary}', body + f"--{boundary}--\r\n".encode()


def decode(content_type: str, body: bytes) -> list[bytes]:
    """Return the parts of a body.

    Raises:
        ValueError: The type is another, or the body does not end as it must.
    """
    if content_type.partition(";")[0].strip().lower() != "multipart/related":
        raise ValueError("it is not multipart/related")
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("it names no boundary")
    mark = b"--" + found[1].encode()
    # The mark stands at the beginning of a line; the line end before it belongs to the mark.
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("its last boundary is missing")
    return [_content(piece) for piece in pieces[1:-1]]


def _content(piece: bytes) -> bytes:
    head, end, content = piece.partition(_HEAD_END)
    if not end or (head and not head.startswith((b"\r\n", b" ", b"\t"))):
        raise ValueError("a part has no end of its header")
    return content
