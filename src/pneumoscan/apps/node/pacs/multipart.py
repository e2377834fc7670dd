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
    pieces = [piece for one in objects for piece in (head, one, b"\r\n")]
    body = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    return f'multipart/related; type="{DICOM}"; boundary={boundary}', body


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
    # The mark stands at the beginning of a line; the line end before it belongs to the mark.
    mark = b"\r\n--" + found[1].encode()
    parts, begin = [], 0 if body.startswith(mark[2:]) else body.find(mark) + 2
    if begin == 1:
        raise ValueError("its first boundary is missing")
    begin += len(mark) - 2
    while not body.startswith(b"--", begin):
        end = body.find(mark, begin)
        if end < 0:
            raise ValueError("its last boundary is missing")
        parts.append(_content(body, begin, end))
        begin = end + len(mark)
    return parts


def _content(body: bytes, begin: int, end: int) -> bytes:
    """Return the content of the part in a range, which may have large pixels: it is copied once."""
    head = body.find(_HEAD_END, begin, end)
    if head < 0 or (head > begin and not body.startswith((b"\r\n", b" ", b"\t"), begin)):
        raise ValueError("a part has no end of its header")
    return body[head + len(_HEAD_END) : end]
