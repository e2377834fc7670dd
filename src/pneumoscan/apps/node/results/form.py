"""Objects of which most is always the same: highdicom makes one with stand-ins, and each object is that one filled in.

highdicom needs 60 ms for a report, and checks the same structure each time. A form is made once for all reports with the same
label, warnings and model; filling it in takes less than a millisecond. Its sequences have an undefined length (PS3.5, 7.5.2),
so that the length of a value that is filled in changes nothing around it.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info

_PREAMBLE = b"\0" * 128 + b"DICM"
# The element with the group's length (PS3.10, 7.1): tag, value representation, a length of 4, the value.
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_UNDEFINED_LENGTH = struct.pack("<HI", 0, 0xFFFFFFFF)

Pieces = tuple[bytes | str, ...]
"""Bytes that stay, and names of values."""


@dataclass(frozen=True)
class Form:
    """A DICOM file with places for values.

    Attributes:
        meta: The file meta information after its group length.
        elements: By tag, each element of the first level.
    """

    meta: Pieces
    elements: Mapping[int, Pieces]

    def fill(self, values: Mapping[str, bytes], elements: Mapping[int, tuple[bytes, bytes]]) -> bytes:
        """Return the bytes of a DICOM file.

        Args:
            values: For each place by its name, of even length.
            elements: By tag, value representation and value of elements that take the place of the form's, or are added. OB is
                for pixels in fragments.
        """
        meta = _filled(self.meta, values)
        body = [
            _element(tag, *elements[tag]) if tag in elements else _filled(self.elements[tag], values)
            for tag in sorted(self.elements.keys() | elements.keys())
        ]
        return b"".join((_PREAMBLE, _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(meta)), meta, *body))


def form_of(dataset: Dataset, stand_ins: Mapping[str, bytes]) -> Form:
    """Turn an object into a form.

    Args:
        dataset: With `file_meta`; in ASCII, which is the same in every character set that a film may name.
        stand_ins: By the name of each place, the value that stands there: of even length, and found nowhere else.
    """
    meta = DicomBytesIO()
    write_file_meta_info(meta, dataset.file_meta)
    _open_sequences(dataset)
    elements = {}
    for element in dataset:
        part = DicomBytesIO()
        part.is_little_endian, part.is_implicit_VR = True, False
        write_data_element(part, element, ["iso8859"])
        elements[int(element.tag)] = _split(part.getvalue(), stand_ins)
    return Form(_split(meta.getvalue()[_GROUP_LENGTH.size :], stand_ins), elements)


def _open_sequences(dataset: Dataset) -> None:
    """Give every sequence and item an undefined length."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open_sequences(item)


def _split(content: bytes, stand_ins: Mapping[str, bytes]) -> Pieces:
    """Cut the bytes at each stand-in, with the 16 bits before it that hold its length."""
    names = {_with_length(value): name for name, value in stand_ins.items()}
    if not names:
        return (content,)
    pieces = re.split(b"(" + b"|".join(map(re.escape, names)) + b")", content)
    return tuple(names.get(piece, piece) for piece in pieces)


def _filled(pieces: Pieces, values: Mapping[str, bytes]) -> bytes:
    return b"".join(_with_length(values[one]) if isinstance(one, str) else one for one in pieces)


def _with_length(value: bytes) -> bytes:
    return struct.pack("<H", len(value)) + value


def _element(tag: int, representation: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, representation)
    # Pixels in fragments have no length of their own (PS3.5, A.4).
    return head + (_UNDEFINED_LENGTH + value if representation == b"OB" else _with_length(value))
