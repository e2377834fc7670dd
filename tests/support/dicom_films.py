"""DICOM films: whole ones written by pydicom, hostile ones made from bytes."""

import struct
import zlib
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
NATIVE = {
    "implicit little": uid.ImplicitVRLittleEndian,
    "explicit little": uid.ExplicitVRLittleEndian,
    "explicit big": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
LOSSLESS = {"RLE": uid.RLELossless, "JPEG-LS": uid.JPEGLSLossless, "JPEG 2000": uid.JPEG2000Lossless}
SYNTAXES = {**NATIVE, **LOSSLESS}


def picture(bits=8, size=(120, 101), signed=False):
    """Stored values of a film, chest-like enough to be compressed: the whole range of the bits is used."""
    height, width = size
    rows = np.linspace(0.05, 0.8, height)[:, None] + 0.15 * np.sin(np.arange(width) / 7)
    levels = np.clip(rows + np.random.default_rng(bits).normal(0, 0.02, size), 0, 1)
    levels[0, :2] = 0, 1
    values = np.rint(levels * ((1 << bits) - 1)).astype(np.int64) - ((1 << (bits - 1)) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def data_set(pixels, **header):
    """A data set of a DX film, explicit little endian, with `header` set, or taken out where it is None."""
    ds = Dataset()
    values = {
        "SOPClassUID": DX, "SOPInstanceUID": "1.2.3.4", "Modality": "DX", "PatientName": "Doe^Jane",
        "PatientID": "17", "BodyPartExamined": "CHEST", "ViewPosition": "PA",
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": pixels.itemsize * 8, "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    if pixels.ndim == 3:
        values["PlanarConfiguration"] = 0
    values |= header
    values.setdefault("HighBit", None if values["BitsStored"] is None else values["BitsStored"] - 1)
    for name, value in values.items():
        if value is not None:
            setattr(ds, name, value)
    if pixels.size:
        ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        ds["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    return ds


def written(ds, syntax=uid.ExplicitVRLittleEndian):
    """The bytes of a file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def film(pixels, syntax=uid.ExplicitVRLittleEndian, **header):
    """The bytes of a film in any transfer syntax that pydicom writes."""
    if syntax == uid.ExplicitVRBigEndian and pixels.itemsize == 2:
        header.setdefault("Rows", pixels.shape[0])
        return written(data_set(pixels.byteswap(), **header), syntax)
    if syntax == uid.JPEG2000Lossless:
        return encapsulated(jpeg_2000(pixels, header.get("BitsStored")), pixels, syntax, **header)
    if syntax == uid.JPEGLSLossless:
        return encapsulated(jpeg_ls(pixels), pixels, syntax, **header)
    ds = data_set(pixels, **header)
    if syntax in LOSSLESS.values():
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        ds.compress(syntax, generate_instance_uid=False)
    return written(ds, syntax)


def encapsulated(frame, pixels, syntax, **header):
    """A film whose one compressed frame is given; `pixels` are what it shows."""
    ds = data_set(pixels, **header)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return written(ds, syntax)


def jpeg_2000(pixels, bits=None, **options):
    """A codestream of so many bits."""
    import imagecodecs

    bits = bits or pixels.itemsize * 8
    return imagecodecs.jpeg2k_encode(
        pixels, bitspersample=bits, codecformat="J2K", mct=False, **{"reversible": True, **options}
    )


def jpeg_ls(pixels, **options):
    import imagecodecs

    return imagecodecs.jpegls_encode(
        pixels.view(f"u{pixels.itemsize}"), out=2 * pixels.nbytes + 1000, **options
    )


def jpeg(pixels, **options):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def table(values, first=0, bits=16, explanation=None):
    """An item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(values) % 65536, first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, "<u2").tobytes())
    if explanation:
        item.LUTExplanation = explanation
    return [item]


# By hand


def element(tag, vr, value=b"", length=None):
    """An element, explicit little endian."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"}:
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def us(tag, *values):
    return element(tag, b"US", struct.pack(f"<{len(values)}H", *values))


def header(rows=64, columns=64, *, bits=8, photometric=b"MONOCHROME2 ", samples=1, frames=b"", extra=b""):
    """All that stands before the pixel data of a CR film."""
    return b"".join(
        (
            element(0x00080016, b"UI", CR.encode() + b"\0"),
            element(0x00080060, b"CS", b"CR"),
            us(0x00280002, samples),
            element(0x00280004, b"CS", photometric),
            element(0x00280008, b"IS", frames) if frames else b"",
            us(0x00280010, rows),
            us(0x00280011, columns),
            us(0x00280100, bits),
            us(0x00280101, bits),
            us(0x00280102, bits - 1),
            us(0x00280103, 0),
            extra,
        )
    )


def file(body, syntax=uid.ExplicitVRLittleEndian):
    """A file of a data set that is given as bytes."""
    name = syntax.encode()
    meta = element(0x00020010, b"UI", name + b"\0" * (len(name) % 2))
    return bytes(128) + b"DICM" + us32(0x00020000, len(meta)) + meta + body


def us32(tag, value):
    return element(tag, b"UL", struct.pack("<I", value))


def pixels_of(data, length=None):
    return element(0x7FE00010, b"OW", data, length)


def deflated(body):
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(body) + squeezer.flush()


def bomb(before, mebibytes, after=b""):
    """Deflate `before`, zeros, `after`, without having the zeros in memory."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = squeezer.compress(before) + squeezer.flush(zlib.Z_FULL_FLUSH)
    zeros = squeezer.compress(bytes(1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return start + zeros * mebibytes + squeezer.compress(after) + squeezer.flush()


def capsule(*fragments, offsets=b"", end=True):
    """Encapsulated pixel data: an offset table, the fragments, the delimiter."""
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in (offsets, *fragments))
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return head + items + (struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if end else b"")


def fragment_of(data):
    """The one fragment of a compressed film that pydicom wrote."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    return get_frame(dcmread(BytesIO(data)).PixelData, 0, number_of_frames=1)


def jpeg_lossless(pixels, bits):
    """Code grey values as lossless JPEG, first predictor (ITU-T T.81, annex H), with codes of five bits."""
    values = pixels.astype(np.int64)
    left = np.pad(values, ((0, 0), (1, 0)))[:, :-1]
    left[1:, 0], left[0, 0] = values[:-1, 0], 1 << (bits - 1)
    differences = ((values - left + (1 << 15)) % (1 << 16)) - (1 << 15)
    pieces = []
    for difference in differences.reshape(-1).tolist():
        size = abs(difference).bit_length()
        pieces.append(f"{size:05b}")
        if size and size < 16:
            pieces.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    text = "".join(pieces)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")
    height, width = pixels.shape
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHBBBB", 11, bits, height, width, 1, 1, 0x11, 0),
            b"\xff\xc4" + struct.pack(">HB", 36, 0) + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17)),
            b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0x00, 1, 0, 0),
            coded,
            b"\xff\xd9",
        )
    )


def packed_in_rows(pixels):
    """RLE as PS3.5, G has it, of 8-bit values, with literal runs that cross the rows."""
    data = pixels.tobytes()
    bounds = [*range(0, len(data), 128), len(data)]
    runs = b"".join(bytes([end - start - 1]) + data[start:end] for start, end in pairwise(bounds))
    return struct.pack("<16I", 1, 64, *[0] * 14) + runs
