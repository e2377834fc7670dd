"""Synthetic films as DICOM files: Computed Radiography Images (PS3.3, A.2), each a study of its own."""

import hashlib
from datetime import date
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from pneumoscan.data.phantom.film import Pixels


def encode_dicom(pixels: Pixels, *, identity: str, patient_id: str, study_date: date, comment: str) -> bytes:
    """Return a film as the bytes of a DICOM file whose header says that it is synthetic.

    Args:
        pixels: uint8 (height, width).
        identity: Of the film: the same identity and date give the same UIDs, others give others.
        patient_id: Of the patient.
        study_date: Of the study.
        comment: That the film is synthetic.
    """

    def digits(kind: str) -> str:
        digest = hashlib.sha256(f"{kind} {identity} {study_date}".encode()).digest()
        return str(int.from_bytes(digest[:16], "big"))

    day = study_date.strftime("%Y%m%d")
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{digits('film')}")
    film.StudyInstanceUID = f"2.25.{digits('study')}"
    film.SeriesInstanceUID = f"2.25.{digits('series')}"
    film.ImageType = ["DERIVED", "PRIMARY"]
    film.StudyDate = film.SeriesDate = film.AcquisitionDate = film.ContentDate = day
    film.StudyTime = film.SeriesTime = film.AcquisitionTime = film.ContentTime = "120000"
    film.AccessionNumber = f"SYN{digits('study')[:12]}"
    film.Modality = "CR"
    film.Manufacturer = "pneumoscan"
    film.ManufacturerModelName = "phantom"
    film.InstitutionName = "No hospital"
    film.StudyDescription = film.SeriesDescription = "Synthetic chest film"
    film.ReferringPhysicianName = ""
    film.PatientName = f"Synthetic^{patient_id}"
    film.PatientID = f"SYNTHETIC-{patient_id}"
    film.PatientBirthDate = film.PatientSex = ""
    film.StudyID = digits("study")[:8]
    film.SeriesNumber = film.InstanceNumber = 1
    film.BodyPartExamined = "CHEST"
    film.ViewPosition = "AP"
    film.PatientOrientation = ["L", "F"]
    film.ImageComments = comment
    film.BurnedInAnnotation = "NO"
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.PixelRepresentation = 0
    # The window that shows each value as it is.
    film.WindowCenter, film.WindowWidth = 128, 256
    film.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    film["PixelData"].VR = "OB"
    file = BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()
