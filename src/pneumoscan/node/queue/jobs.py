"""What a row of the queue says, the states that an object goes through, what a database must offer, and the messages to be pushed."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol


class State(StrEnum):
    """Where an object stands."""

    FOUND = "found"
    FETCHED = "fetched"
    MADE = "made"
    STORED = "stored"
    DONE = "done"
    REFUSED = "refused"
    SKIPPED = "skipped"
    CONFLICT = "conflict"
    PARKED = "parked"


WAITING = (State.FOUND, State.FETCHED, State.MADE, State.STORED)
"""Something is still to be done."""
ENDS = (State.DONE, State.REFUSED, State.SKIPPED, State.CONFLICT, State.PARKED)
"""Nothing is done any more unless somebody says so."""


@dataclass(frozen=True)
class Arrival:
    """An object that was found, or received; two arrivals with the same SOP instance UID are the same object.

    Texts are empty where they are not known yet. See `Job` for what they are.
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
    """A row of the queue: one object that was found, and what became of it.

    Times are seconds since 1970 (UTC) by the database's clock, None until it is so far; texts are empty until they are known.
    """

    id: int
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    source: str  # who found it: `qido`, `orthanc` or `c-store`
    mode: (
        str  # `shadow`: the finding is recorded and nothing is stored; `live`: results are stored in the PACS
    )
    reading: str  # empty for the first reading; for another by a new model, what identifies that model
    variant: str  # for an object that came with the UID of another, its `stored_sha256`
    state: State
    code: str  # why it was refused, skipped or parked, or what went wrong last: a code of `pneumoscan.errors`
    host: str  # the node that holds its file
    spool: str  # name of its file in that node's spool
    attempts: int  # how often the present state was worked on in vain; counted when the row is claimed
    claims: int  # how often the row was claimed at all; tells one claim from the next
    lease_until: float | None  # until when somebody works on it
    not_before: float  # when it may be tried again
    found_at: float
    fetched_at: float | None
    made_at: float | None  # the time that the results carry, set before they are made
    stored_at: float | None  # when the PACS had accepted the results
    done_at: float | None  # when it came to any of its ends
    study_date: str  # `YYYYMMDD`
    accession_number: str
    device: str  # manufacturer and model that the header names
    stored_sha256: str  # of the pixel data as they were sent
    pixels_sha256: str  # of the decoded pixels (`node.header.pixels_sha256_of`)
    label: str  # `PNEUMONIA`, `NORMAL`, `UNSURE`, `NOT_A_CHEST_FILM`
    probability: float | None  # of PNEUMONIA, in [0, 1]
    threshold: float | None  # in [0, 1]
    operating_point: str
    warnings: str  # joined by `;`
    model: str  # name and first digits of the network's SHA-256
    report_uid: str
    report_sha256: str
    picture_uid: str
    picture_sha256: str
    state_uid: str  # of the presentation state; empty if there is none
    state_sha256: str


LONGEST = 3600
COLUMNS = tuple(one.name for one in fields(Job))
_EMPTY_TEXTS = ("code", "claimed_by", "host", "spool", "stored_sha256", "pixels_sha256", "label", "operating_point", "warnings",
                "model", "report_uid", "report_sha256", "picture_uid", "picture_sha256", "state_uid", "state_sha256")  # fmt: skip
ARRIVAL = ("sop_instance_uid", "study_instance_uid", "series_instance_uid", "source", "mode", "reading", "variant",
            "study_date", "accession_number", "device")  # fmt: skip
_NUMBERS = ("lease_until", "fetched_at", "made_at", "stored_at", "done_at", "probability", "threshold")


def listed(states: Sequence[State]) -> str:
    """Return states as SQL lists them."""
    return ", ".join(f"'{state}'" for state in states)


def schema(identity: str, real: str) -> tuple[str, ...]:
    """Return the statements that make the tables.

    Args:
        identity: The type of a column that counts the rows up.
        real: The type of a floating-point number of 64 bits.
    """
    texts = "".join(f"{name} TEXT NOT NULL,\n" for name in ARRIVAL)
    empty = "".join(f"{name} TEXT NOT NULL DEFAULT '',\n" for name in _EMPTY_TEXTS)
    numbers = "".join(f"{name} {real},\n" for name in _NUMBERS)
    return (
        f"CREATE TABLE IF NOT EXISTS job (id {identity},\n{texts}{empty}{numbers}"
        f"state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, claims INTEGER NOT NULL DEFAULT 0,\n"
        f"not_before {real} NOT NULL DEFAULT 0, found_at {real} NOT NULL,\n"
        "UNIQUE (sop_instance_uid, reading, variant))",
        f"CREATE INDEX IF NOT EXISTS job_waiting ON job (attempts, id) WHERE state IN ({listed(WAITING)})",
        "CREATE INDEX IF NOT EXISTS job_state ON job (state, code)",
        "CREATE INDEX IF NOT EXISTS job_study ON job (study_instance_uid)",
        "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    )


Rows = list[tuple[Any, ...]]


class Execute(Protocol):
    """Runs one statement with `?` for its values in a transaction, and returns its rows."""

    def __call__(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """Run it."""


class Database(Protocol):
    """Where the tables lie.

    Attributes:
        clock: SQL for the seconds since 1970 as a floating-point number.
        skip_locked: What a SELECT that is to be updated ends with, so that claims do not wait for one another.
    """

    clock: str
    skip_locked: str

    def transaction(self) -> AbstractContextManager[Execute]:
        """Begin a transaction; it is committed, to the disk, when the block ends without an exception."""

    def integrity(self) -> str:
        """Return `ok`, or what is wrong."""

    def close(self) -> None:
        """Close the connections."""


_PUSH_COLUMNS = "id, job, kind, message_id, content, attempts, claims"


@dataclass(frozen=True)
class Message:
    """A message to a system of the hospital, as it is made: its kind (`fhir` or `hl7`), the identifier that receivers know it by, and its text."""

    kind: str
    message_id: str
    content: str = field(repr=False)


@dataclass(frozen=True)
class Push:
    """A message that was claimed; `attempts` counts how often the receiver has answered that it does not take it."""

    id: int
    job: int
    kind: str
    message_id: str
    content: str = field(repr=False)
    attempts: int
    claims: int


def push_schema(identity: str, real: str) -> tuple[str, ...]:
    """Return the statements that make the table; see `schema`."""
    return (
        f"CREATE TABLE IF NOT EXISTS push (id {identity},\njob BIGINT NOT NULL, kind TEXT NOT NULL, message_id TEXT NOT NULL,\n"
        "content TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', code TEXT NOT NULL DEFAULT '',\n"
        "claimed_by TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, claims INTEGER NOT NULL DEFAULT 0,\n"
        f"lease_until {real}, not_before {real} NOT NULL DEFAULT 0, sent_at {real}, UNIQUE (kind, message_id))",
        "CREATE INDEX IF NOT EXISTS push_waiting ON push (kind, attempts, id) WHERE state = 'waiting'",
    )


def add_messages(execute: Execute, job: int, messages: Iterable[Message]) -> None:
    """Add the messages of a film, in the transaction of the caller; one that waits already goes with this film from now on."""
    for one in messages:
        execute(
            "INSERT INTO push (job, kind, message_id, content) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, message_id) DO UPDATE SET job = excluded.job WHERE push.state = 'waiting'",
            (job, one.kind, one.message_id, one.content),
        )


class Pushes:
    """The table of messages that wait to be pushed. Every call is a transaction of its own, from any thread.

    A message is made in the transaction that brings its film to `made`, and may go out when the film is `done`. Its kind and
    identifier are never used twice. When the receiver has acknowledged it, its content is removed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, kind: str, host: str, seconds: float) -> Push | None:
        """Take the message of a kind that was refused least and waits longest, and whose film is done; None if there is none."""
        clock = self._database.clock
        with self._database.transaction() as execute:
            rows = execute(
                f"UPDATE push SET claims = claims + 1, lease_until = {clock} + ?, claimed_by = ? WHERE id IN ("
                "SELECT id FROM push WHERE kind = ? AND state = 'waiting' "
                f"AND (lease_until IS NULL OR lease_until < {clock} OR lease_until > {clock} + {LONGEST}) "
                f"AND (not_before <= {clock} OR not_before > {clock} + {LONGEST}) "
                "AND EXISTS (SELECT 1 FROM job WHERE job.id = push.job AND job.state = 'done') "
                f"ORDER BY attempts, id LIMIT 1 {self._database.skip_locked}) RETURNING {_PUSH_COLUMNS}",
                (seconds, host, kind),
            )
        return Push(*rows[0]) if rows else None

    def acknowledged(self, push: Push) -> None:
        """Record that the receiver has a message, and remove its content."""
        self._change(push, f"state = 'sent', content = '', code = '', sent_at = {self._database.clock}", ())

    def give_back(self, push: Push, *, code: str, seconds: float, used: bool) -> None:
        """Free a message to be tried again in so many seconds; the attempt counts only if it was `used`."""
        self._change(
            push,
            f"not_before = {self._database.clock} + ?, code = ?, attempts = attempts + ?",
            (min(seconds, LONGEST), code, int(used)),
        )

    def park(self, push: Push, code: str) -> None:
        """Try a message no more until somebody says so."""
        self._change(push, "state = 'parked', code = ?", (code,))

    def retry(self) -> int:
        """Let all parked messages begin again; return how many."""
        with self._database.transaction() as execute:
            return len(
                execute(
                    "UPDATE push SET state = 'waiting', attempts = 0, not_before = 0, code = '' "
                    "WHERE state = 'parked' RETURNING id"
                )
            )

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return how many messages there are of each kind, state (`waiting`, `sent`, `parked`) and code."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT kind, state, code, COUNT(*) FROM push GROUP BY kind, state, code ORDER BY kind, state, code"
            )
        return {(kind, state, code): count for kind, state, code, count in rows}

    def waiting(self, kinds: Sequence[str]) -> int:
        """Return how many messages of these kinds wait whose films are done."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT kind, COUNT(*) FROM push WHERE state = 'waiting' "
                "AND EXISTS (SELECT 1 FROM job WHERE job.id = push.job AND job.state = 'done') GROUP BY kind"
            )
        return sum(count for kind, count in rows if kind in kinds)

    def _change(self, push: Push, settings: str, values: tuple[object, ...]) -> None:
        """Change a message and free it; one that somebody else has claimed meanwhile is left to them."""
        with self._database.transaction() as execute:
            execute(
                f"UPDATE push SET {settings}, lease_until = NULL WHERE id = ? AND claims = ? RETURNING id",
                (*values, push.id, push.claims),
            )
