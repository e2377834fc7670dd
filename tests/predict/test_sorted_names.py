"""Lists are read as streams."""

from io import BytesIO

import pytest

from pneumoscan.predict.sources import pieces, records


class Slowly(BytesIO):
    """A stream that gives three bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3) if size >= 0 else size)


@pytest.mark.parametrize("text", [b"", b"a", b"one\0two\0", b"one\0\0two", b"longer than a piece\0x"])
def test_records_end_anywhere_in_a_piece(text: bytes) -> None:
    expected = text.split(b"\0")
    expected = expected[:-1] if not expected[-1] else expected
    assert list(records(pieces(Slowly(text)), b"\0")) == expected
    assert list(records([text[:1], *pieces(Slowly(text[1:]))], b"\0")) == expected
