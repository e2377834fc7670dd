"""What a row of the queue says: one object that was found, and what became of it."""

from dataclasses import dataclass, fields
from enum import StrEnum


class State(StrEnum):
    """Where an object stands."""

    FOUND = "found"
    FETCHED = "fetched"
    MADE = "made"
    STORED = "stored"
    DONE = "done"
    REFUSED = "refused"
    CONFLICT = "conflict"
    PARKED = "parked"


WAITING = (State.FOUND, State.FETCHED, State.MADE, State.STORED)
"""Something is still to be done."""
ENDS = (State.DONE, State.REFUSED, State.CONFLICT, State.PARKED)
"""Nothing is done any more unless somebody says so."""


@dataclass(frozen=True)
class Arrival:
    """An object that was found, or received.

    Attributes:
        sop_instance_uid: Of the object; two arrivals with the same one are the same object.
        study_instance_uid: Empty if it is not known yet.
        series_instance_uid: Empty if it is not known yet.
        source: Who found it: `qido`, `orthanc` or `c-store`.
        mode: `shadow` or `live`.
        reading: Empty for the first reading; for another by a new model, what identifies that model.
        study_date: `YYYYMMDD`; empty if it is not known.
        accession_number: Of the study; empty if it is not known.
        device: Manufacturer and model that the header names; empty if it names none.
    """

    sop_instance_uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    source: str = "qido"
    mode: str = "shadow"
    reading: str = ""
    study_date: str = ""
    accession_number: str = ""
    device: str = ""


@dataclass(frozen=True)
class Job:
    """A row of the queue. Times are seconds since 1970 (UTC) by the database's clock; None until it is so far.

    Attributes:
        id: Of the row.
        sop_instance_uid: Of the object.
        study_instance_uid: Of its study.
        series_instance_uid: Of its series.
        source: Who found it: `qido`, `orthanc` or `c-store`.
        mode: `shadow`: the finding is recorded and nothing is stored; `live`: results are stored in the PACS.
        reading: Empty for the first reading; for another by a new model, what identifies that model.
        variant: Empty; for an object that came with the UID of another, its `stored_sha256`.
        state: Where it stands.
        code: Why it was refused or parked; while it waits, what went wrong last. A code of `pneumoscan.errors`.
        host: The node that holds its file; empty if none does.
        spool: Name of its file in that node's spool; empty if there is none.
        attempts: How often the present state was worked on in vain; counted when the row is claimed.
        claims: How often the row was claimed at all; tells one claim from the next.
        lease_until: Until when somebody works on it.
        not_before: When it may be tried again.
        found_at: When the row was made.
        fetched_at: When its file was here.
        made_at: The time that the results carry, set before they are made.
        stored_at: When the PACS had accepted the results.
        done_at: When it came to an end: done, refused, conflict or parked.
        study_date: `YYYYMMDD`; empty if it is not known.
        accession_number: Of the study; empty if it is not known.
        device: Manufacturer and model that the header names; empty if it names none.
        stored_sha256: Of the pixel data as they were sent, 64 digits; empty until the file is here.
        pixels_sha256: Of the decoded pixels (`pixels_sha256_of`); empty until they are known.
        label: `PNEUMONIA`, `NORMAL`, `UNSURE`, `NOT_A_CHEST_FILM`; empty until it was read.
        probability: Of PNEUMONIA, in [0, 1]; None until it was read.
        threshold: The cut-off in [0, 1] that gave the label.
        operating_point: Its name.
        warnings: Joined by `;`.
        site: Which of the sites that the model knows the film resembles.
        model: Name and first digits of the network's SHA-256.
        report_uid: SOP instance UID of the structured report; empty until it was made.
        report_sha256: Of its bytes.
        picture_uid: SOP instance UID of the secondary capture; empty until it was made.
        picture_sha256: Of its bytes.
    """

    id: int
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    source: str
    mode: str
    reading: str
    variant: str
    state: State
    code: str
    host: str
    spool: str
    attempts: int
    claims: int
    lease_until: float | None
    not_before: float
    found_at: float
    fetched_at: float | None
    made_at: float | None
    stored_at: float | None
    done_at: float | None
    study_date: str
    accession_number: str
    device: str
    stored_sha256: str
    pixels_sha256: str
    label: str
    probability: float | None
    threshold: float | None
    operating_point: str
    warnings: str
    site: str
    model: str
    report_uid: str
    report_sha256: str
    picture_uid: str
    picture_sha256: str


COLUMNS = tuple(field.name for field in fields(Job))
