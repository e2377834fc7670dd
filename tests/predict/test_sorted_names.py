"""Names are sorted in bounded memory, and lists are read as streams."""

import os
import random
from io import BytesIO

import pytest

from pneumoscan.predict.sorted_names import pieces, records, sorted_names


@pytest.mark.parametrize("most", [1, 7, 100, 1000])
def test_sorting_in_pieces_gives_the_same_order(most: int) -> None:
    names = [f"film {number}\nof {number % 7}" for number in range(300)] + [os.fsdecode(b"\xff\xfe.png")]
    random.Random(0).shuffle(names)
    assert list(sorted_names(iter(names), key=str, most=most)) == sorted(names)


def test_all_names_are_taken_before_the_first_is_given() -> None:
    taken = []

    def names():
        for name in "cab":
            taken.append(name)
            yield name

    found = sorted_names(names(), key=str)
    assert taken == ["c", "a", "b"]
    assert list(found) == ["a", "b", "c"]


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
