"""What report and picture have in common: by what and when they were made, and the values that differ from film to film."""

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DS, DT, TM

from pneumoscan.apps.node.results.codes import PROCESSING, concept
from pneumoscan.apps.node.results.finding import ResultUids, Writer, percent_of, plain
from pneumoscan.apps.node.results.form import Form, form_of
from pneumoscan.apps.node.results.own import MODEL_NAME
from pneumoscan.apps.node.results.source import Source


def values_of(source: Source, uids: ResultUids, probability: float, made_at: datetime) -> dict[str, bytes]:
    """Return what differs between the results of two films with the same answer, as values of elements.

    Args:
        source: The film.
        uids: Of its results.
        probability: Of PNEUMONIA, in [0, 1].
        made_at: In the film's time zone.
    """
    percent = percent_of(probability)
    of_film = {name: getattr(source, name) for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid",
                                                        "study_instance_uid")}  # fmt: skip
    return {
        **{name: _uid(uid) for name, uid in (of_film | vars(uids)).items()},
        "percent": _text(str(DS(percent, auto_format=True))),
        "percent as float64": struct.pack("<d", percent),
        "date": _text(str(DA(made_at.date()))),
        "time": _text(str(TM(made_at.time()))),
        "moment": _text(str(DT(made_at))),
    }


def _uid(uid: str) -> bytes:
    return uid.encode("ascii") + b"\0" * (len(uid) % 2)


def _text(text: str) -> bytes:
    return text.encode("ascii") + b" " * (len(text) % 2)


def _stand_in(number: int) -> str:
    return f"2.25.{10**38 + number}"


# Stands for any film and its results where a form is made: no value is found in another one.
_ANY_SOURCE = Source(
    # highdicom must know the class: Digital X-Ray Image Storage - For Presentation.
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    sop_instance_uid=_stand_in(0),
    series_instance_uid=_stand_in(1),
    study_instance_uid=_stand_in(2),
    identity={},
    offset=None,
    burned_in="",
    pixels_sha256="",
)
_ANY_UIDS = ResultUids(*map(_stand_in, range(3, 9)))
ANY_PROBABILITY = 0.123456789012345
_ANY_MOMENT = datetime(1901, 2, 3, 4, 5, 6, 789012, UTC)
STAND_INS: Mapping[str, bytes] = values_of(_ANY_SOURCE, _ANY_UIDS, ANY_PROBABILITY, _ANY_MOMENT)


def form_for(make: Callable[[Source, ResultUids, datetime], Dataset]) -> Form:
    """Return the form of what `make` returns for a film, the UIDs of its results, and the time of their making."""
    return form_of(make(_ANY_SOURCE, _ANY_UIDS, _ANY_MOMENT), STAND_INS)


def set_origin(dataset: Dataset, writer: Writer, made_at: datetime) -> None:
    """Say what made an object, and when (General Equipment, and Contributing Equipment of SOP Common).

    One moment is written into every date and time that highdicom fills with the present.
    """
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
    date, time = DA(made_at.date()), TM(made_at.time())
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
