"""What report and picture have in common: whose they are, when and by what they were made, and the bytes of the file."""

import struct
from datetime import datetime

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.valuerep import DA, DT, TM

from pneumoscan.apps.node.results.codes import PROCESSING, concept
from pneumoscan.apps.node.results.finding import Writer, plain
from pneumoscan.apps.node.results.own import MODEL_NAME
from pneumoscan.apps.node.results.source import Source


def set_equipment(dataset: Dataset, writer: Writer, made_at: datetime) -> None:
    """Say what made the object (General Equipment, and Contributing Equipment of SOP Common)."""
    versions = [plain(writer.pneumoscan_version), f"model.onnx {writer.onnx_sha256[:12]}"]
    dataset.SoftwareVersions = versions
    dataset.DeviceSerialNumber = writer.model_json_sha256[:16]
    dataset.ContributingEquipmentSequence = [
        ContributingEquipment(
            manufacturer=plain(writer.manufacturer),
            purpose_of_reference=concept(PROCESSING),
            manufacturer_model_name=MODEL_NAME,
            software_versions=versions,
            contribution_datetime=DT(made_at),
        )
    ]


def set_times(dataset: Dataset, made_at: datetime) -> None:
    """Write one moment into every date and time that highdicom fills with the present."""
    names = ["InstanceCreation", "Content", "Series"]
    date, time = DA(made_at.date()), TM(made_at.time())
    for name in names:
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time


def file_bytes(dataset: Dataset, source: Source) -> bytes:
    """Return the bytes of a DICOM file: the data set of ours, and among its elements the film's own, untouched.

    Args:
        dataset: With `file_meta`, in ASCII, which is the same in every character set that the film may name.
        source: Its `identity` takes the place of elements with the same tag.
    """
    meta, body = DicomBytesIO(), DicomBytesIO()
    write_file_meta_info(meta, dataset.file_meta)
    body.is_little_endian, body.is_implicit_VR = True, False
    for tag in sorted({int(tag) for tag in dataset.keys()} | set(source.identity)):  # noqa: SIM118 - elements, not tags
        if tag in source.identity:
            representation, value = source.identity[tag]
            body.write(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, representation, len(value)) + value)
        else:
            write_data_element(body, dataset[tag], ["iso8859"])
    return b"\0" * 128 + b"DICM" + meta.getvalue() + body.getvalue()
