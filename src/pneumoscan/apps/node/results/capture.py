"""The picture as a DICOM object: Secondary Capture Image (PS3.3, A.8), JPEG, with a reference to its film."""

import struct
from datetime import datetime
from functools import lru_cache
from io import BytesIO

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DS

from pneumoscan.apps.node.results.codes import SOURCE_IMAGE, concept
from pneumoscan.apps.node.results.finding import NOTICE, ResultUids, Writer, plain
from pneumoscan.apps.node.results.form import Form
from pneumoscan.apps.node.results.own import MODEL_NAME, PICTURE_SERIES
from pneumoscan.apps.node.results.source import Source
from pneumoscan.apps.node.results.writing import form_for, set_origin

_SERIES_NUMBER = 9702
_QUALITY = 85
_ROWS, _COLUMNS, _RATIO, _PIXELS, _BURNED_IN = 0x0028_0010, 0x0028_0011, 0x0028_2112, 0x7FE0_0010, 0x0028_0301
_END_OF_FRAGMENTS = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@lru_cache(maxsize=4)
def capture_form(writer: Writer) -> Form:
    """Return what all captures by a writer have in common, whatever the film and the picture."""
    return form_for(lambda source, uids, made_at: make_capture(source, writer, uids, made_at))


def make_capture(source: Source, writer: Writer, uids: ResultUids, made_at: datetime) -> Dataset:
    """Return a secondary capture, still without the patient, the study and the elements of its picture."""
    capture = SCImage(
        np.zeros((16, 16, 3), np.uint8),
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=uids.picture_series,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uids.picture,
        instance_number=1,
        manufacturer=plain(writer.manufacturer),
        manufacturer_model_name=MODEL_NAME,
        series_description=PICTURE_SERIES,
        transfer_syntax_uid=JPEGBaseline8Bit,
    )
    # A sheet with words on it has no left and right of its own (type 2C: empty).
    capture.PatientOrientation = []
    capture.BodyPartExamined = "CHEST"
    capture.ConversionType = "WSD"
    capture.SecondaryCaptureDeviceManufacturer = plain(writer.manufacturer)
    capture.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    capture.DerivationDescription = f"The film, and the answer in numbers and words. {NOTICE}."
    capture.SourceImageSequence = [_reference(source)]
    # PS3.3, C.7.6.1.1.5.
    capture.LossyImageCompression, capture.LossyImageCompressionMethod = "01", "ISO_10918_1"
    set_origin(capture, writer, made_at)
    del capture.PixelData
    return capture


def picture_elements(source: Source, picture: Image.Image) -> dict[int, tuple[bytes, bytes]]:
    """Return the elements of a picture: by tag, value representation and value.

    Args:
        source: The film.
        picture: RGB.
    """
    pixels = BytesIO()
    picture.save(pixels, "JPEG", quality=_QUALITY, subsampling="4:2:2")
    jpeg = pixels.getvalue()
    ratio = str(DS(round(3 * picture.width * picture.height / len(jpeg), 2), auto_format=True)).encode()
    elements = {
        _ROWS: (b"US", struct.pack("<H", picture.height)),
        _COLUMNS: (b"US", struct.pack("<H", picture.width)),
        _RATIO: (b"DS", ratio + b" " * (len(ratio) % 2)),
        _PIXELS: (b"OB", encapsulate([jpeg]) + _END_OF_FRAGMENTS),
    }
    if source.burned_in:
        burned_in = source.burned_in.encode("ascii")
        elements[_BURNED_IN] = b"CS", burned_in + b" " * (len(burned_in) % 2)
    return elements


def _reference(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    item.PurposeOfReferenceCodeSequence = [concept(SOURCE_IMAGE)]
    return item
