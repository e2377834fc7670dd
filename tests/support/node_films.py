"""DICOM films as a hospital sends them: each with UIDs, dates and names of its own."""

import time

import dicom_films
import numpy as np

ROOT = "1.2.826.0.1.3680043.10.999"
CANARY = "CANARY"


def film(number, *, studies=1, today=None, size=(96, 90), pixels=None, **header):
    """The bytes of film `number`; every text element of its patient holds a canary."""
    study = number // studies
    if pixels is None:
        pixels = np.roll(dicom_films.picture(12, size), 7 * number, 1)
    pixels[0, :2] = 0, 4095
    values = {
        "SOPInstanceUID": sop(number), "StudyInstanceUID": f"{ROOT}.1.{study}", "SeriesInstanceUID": f"{ROOT}.2.{number}",
        "StudyDate": today or time.strftime("%Y%m%d"), "StudyTime": "120000", "BitsStored": 12,
        "PatientName": f"{CANARY}NAME^{study}", "PatientID": f"{CANARY}ID{study}", "PatientBirthDate": "19500101",
        "AccessionNumber": f"{CANARY}{study}"[:16], "ReferringPhysicianName": f"{CANARY}DOCTOR",
        "StudyID": f"{CANARY}S{study}"[:16], "Manufacturer": "ACME", "ManufacturerModelName": f"X{number % 2}",
        "InstitutionName": f"{CANARY}HOSPITAL", "StudyDescription": f"{CANARY}STUDY", "StationName": f"{CANARY}ROOM"[:16],
        "ProtocolName": f"{CANARY}PROTOCOL", "OperatorsName": f"{CANARY}OPERATOR",
    }  # fmt: skip
    return dicom_films.film(pixels, **(values | header))


def sop(number):
    """SOP instance UID of film `number`."""
    return f"{ROOT}.3.{number}"
