"""Messages that wait to be pushed to a hospital's systems, in a table beside that of the jobs.

A message is made in the transaction that brings its film to `made`, and may go out when the film is `done`. It is known by its
kind and identifier, so the same one is never made twice. When the receiver has acknowledged it, its content is removed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pneumoscan.node.queue.jobs import Database, Execute

_LONGEST = 3600
_COLUMNS = "id, job, kind, message_id, content, attempts, claims"


@dataclass(frozen=True)
class Message:
    """A message as it is made: its kind (`fhir` or `hl7`), the identifier that receivers know it by, and its text."""

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
    """The table of messages. Every call is a transaction of its own; may be used from several threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, kind: str, host: str, seconds: float) -> Push | None:
        """Take the message of a kind that was refused least and waits longest, and whose film is done; None if there is none."""
        clock = self._database.clock
        with self._database.transaction() as execute:
            rows = execute(
                f"UPDATE push SET claims = claims + 1, lease_until = {clock} + ?, claimed_by = ? WHERE id IN ("
                "SELECT id FROM push WHERE kind = ? AND state = 'waiting' "
                f"AND (lease_until IS NULL OR lease_until < {clock} OR lease_until > {clock} + {_LONGEST}) "
                f"AND (not_before <= {clock} OR not_before > {clock} + {_LONGEST}) "
                "AND EXISTS (SELECT 1 FROM job WHERE job.id = push.job AND job.state = 'done') "
                f"ORDER BY attempts, id LIMIT 1 {self._database.skip_locked}) RETURNING {_COLUMNS}",
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
            (min(seconds, _LONGEST), code, int(used)),
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
