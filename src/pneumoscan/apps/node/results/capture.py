"""The picture as a DICOM object: Secondary Capture Image (PS3.3, A.8), JPEG, with a reference to its film."""

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DS

from pneumoscan.apps.node.results.codes import SOURCE_IMAGE, concept
from pneumoscan.apps.node.results.finding import NOTICE, ResultUids, Writer, plain
from pneumoscan.apps.node.results.own import MODEL_NAME, PICTURE_SERIES
from pneumoscan.apps.node.results.source import Source

_SERIES_NUMBER = 9702


def make_capture(source: Source, picture: Image.Image, writer: Writer, uids: ResultUids) -> Dataset:
    """Return the secondary capture, still without the patient, the study and the times.

    Args:
        source: The film.
        picture: RGB.
        writer: What made it.
        uids: See `result_uids`.
    """
    capture = SCImage(
        np.asarray(picture),
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
    capture.DerivationDescription = f"The film, beside it the film with evidence for pneumonia in colour, and the answer in words. {NOTICE}."
    capture.SourceImageSequence = [_reference(source)]
    if source.burned_in:
        capture.BurnedInAnnotation = source.burned_in
    _set_compression(capture, picture)
    # What is encapsulated has no length of its own (PS3.5, A.4).
    capture["PixelData"].VR, capture["PixelData"].is_undefined_length = "OB", True
    return capture


def _reference(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    item.PurposeOfReferenceCodeSequence = [concept(SOURCE_IMAGE)]
    return item


def _set_compression(capture: Dataset, picture: Image.Image) -> None:
    """Say that the pixels are lossy (PS3.3, C.7.6.1.1.5)."""
    raw = picture.width * picture.height * 3
    capture.LossyImageCompression = "01"
    capture.LossyImageCompressionRatio = DS(round(raw / len(capture.PixelData), 2), auto_format=True)
    capture.LossyImageCompressionMethod = "ISO_10918_1"
