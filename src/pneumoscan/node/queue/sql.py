"""The queue in SQL that SQLite and PostgreSQL both understand; where they differ, `Database` says how.

A lease or a pause that ends later than any that is given (`LONGEST`) was given before the clock was set back, and counts
as over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pneumoscan.node.queue.jobs import (
    ARRIVAL,
    COLUMNS,
    ENDS,
    LONGEST,
    WAITING,
    Arrival,
    Database,
    Execute,
    Job,
    Message,
    Pushes,
    Rows,
    State,
    add_messages,
    listed,
)

_PAGE = 500
_TIMES = {State.FETCHED: "fetched_at", State.STORED: "stored_at", **dict.fromkeys(ENDS, "done_at")}


class LeaseLostError(Exception):
    """Somebody else has claimed the row meanwhile; whatever was about to be written is theirs to write."""


class Queue:
    """One table of jobs and one of marks. Every call is a transaction of its own, committed when it returns.

    What changes a claimed row raises LeaseLostError where somebody else has it. May be used from several threads at once.

    Attributes:
        pushes: The messages that wait to be pushed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock
        self.pushes = Pushes(database)

    def now(self) -> float:
        """Return the database's clock, in seconds since 1970 (UTC)."""
        with self._database.transaction() as execute:
            return float(execute(f"SELECT {self._clock}")[0][0])

    def add(self, arrivals: Iterable[Arrival], mark: tuple[str, str] | None = None) -> int:
        """Make a row in state `found` for each object that has none; return how many were new.

        Args:
            arrivals: What was found, in any order.
            mark: Name and value of a mark that is set in the same transaction.
        """
        new = 0
        with self._database.transaction() as execute:
            for arrival in arrivals:
                new += len(self._insert(execute, arrival, State.FOUND))
            if mark is not None:
                _set_mark(execute, *mark)
        return new

    def receive(
        self,
        arrival: Arrival,
        *,
        host: str,
        spool: str,
        pixels_sha256: str,
        stored_sha256: str = "",
        code: str = "",
    ) -> State | None:
        """Make a row for an object whose file is here.

        Args:
            arrival: The object.
            host: The node that holds the file.
            spool: The file's name in its spool.
            pixels_sha256: Of the decoded pixels; empty if they are not known yet.
            stored_sha256: Of what is stored; by default `pixels_sha256`.
            code: Why it is refused; empty if it is not.

        Returns:
            The state of the new row: `fetched`, `refused`, or `conflict` where an object with that UID but other pixels is known.
            An object with that UID and other bytes is `fetched` as well until the pixels of both are known.
            None if the same object is known already; nothing is changed then, but a skipped one becomes `fetched`, for the rules
            may be others now.
        """
        stored = stored_sha256 or pixels_sha256
        held = {
            "host": host,
            "spool": spool,
            "stored_sha256": stored,
            "pixels_sha256": pixels_sha256,
            "code": code,
        }
        state = State.REFUSED if code else State.FETCHED
        with self._database.transaction() as execute:
            if self._insert(execute, arrival, state, **held):
                return state
            if not code and execute(
                "UPDATE job SET state = 'fetched', code = '', host = ?, spool = ?, attempts = 0, done_at = NULL "
                "WHERE sop_instance_uid = ? AND state = 'skipped' AND stored_sha256 = ? RETURNING id",
                (host, spool, arrival.sop_instance_uid, stored),
            ):
                return State.FETCHED
            # A row without a hash of what is stored was found and not fetched yet.
            known = execute(
                "SELECT 1 FROM job WHERE sop_instance_uid = ? "
                "AND (stored_sha256 IN ('', ?) OR (pixels_sha256 <> '' AND pixels_sha256 = ?))",
                (arrival.sop_instance_uid, stored, pixels_sha256),
            )
            if known:
                return None
            unknown = execute(
                "SELECT 1 FROM job WHERE sop_instance_uid = ? AND variant = '' AND pixels_sha256 = ''",
                (arrival.sop_instance_uid,),
            )
            if not code and (not pixels_sha256 or unknown):
                self._insert(execute, arrival, State.FETCHED, **(held | {"variant": stored}))
                return State.FETCHED
            variant = {"variant": stored, "code": "", "host": "", "spool": ""}
            self._insert(execute, arrival, State.CONFLICT, **(held | variant))
            return State.CONFLICT

    def claim(self, host: str, seconds: float) -> Job | None:
        """Take the row that was tried least and waits longest, for so many seconds; its attempts rise by one.

        Rows whose only file is at another node are left to that node.
        """
        return next(iter(self._claimed(host, seconds, 1)), None)

    def claim_several(self, host: str, seconds: float, limit: int) -> list[Job]:
        """Take up to `limit` rows as `claim` does, but none that a process had twice before and never said anything about.

        Such a row may have killed that process, and with it the attempts of all others that the process had: `claim` it, and
        nothing else at the same time.
        """
        return self._claimed(host, seconds, limit, "AND (attempts < 2 OR code <> '') ")

    def _claimed(self, host: str, seconds: float, limit: int, which: str = "") -> list[Job]:
        clock = self._clock
        with self._database.transaction() as execute:
            rows = execute(
                f"UPDATE job SET attempts = attempts + 1, claims = claims + 1, lease_until = {clock} + ?, claimed_by = ? "
                f"WHERE id IN (SELECT id FROM job WHERE state IN ({listed(WAITING)}) "
                f"AND (lease_until IS NULL OR lease_until < {clock} OR lease_until > {clock} + {LONGEST}) "
                f"AND (not_before <= {clock} OR not_before > {clock} + {LONGEST}) "
                f"AND (source <> 'c-store' OR host IN ('', ?)) {which}"
                f"ORDER BY attempts, id LIMIT ? {self._database.skip_locked}) RETURNING {', '.join(COLUMNS)}",
                (seconds, host, host, limit),
            )
        return sorted(map(_job, rows), key=lambda job: (job.attempts, job.id))

    def extend(self, job: Job, seconds: float) -> None:
        """Keep a claimed row for so many seconds from now."""
        self._update(job, f"lease_until = {self._clock} + ?", (seconds,))

    def stamp(self, job: Job) -> Job:
        """Keep the present as the time that a claimed row's results carry, unless one is kept; return the row."""
        return self._update(job, f"made_at = COALESCE(made_at, {self._clock})", ())

    def advance(self, job: Job, state: State, *, messages: Sequence[Message] = (), **columns: Any) -> Job:
        """Bring a claimed row to its next state, or to its end; its attempts begin anew, and an end frees it.

        Args:
            job: The row.
            state: The next one.
            messages: To be pushed when the film is done; they are added in the same transaction.
            **columns: Their new values.
        """
        with self._database.transaction() as execute:
            changed = self._changed(execute, job, *self._advance(state, columns))
            if changed is None:
                raise LeaseLostError
            add_messages(execute, job.id, messages)
        return changed

    def advance_all(self, jobs: Sequence[Job], state: State) -> list[Job | LeaseLostError]:
        """Bring claimed rows to a state, in one transaction; return each, or that somebody else has it."""
        settings, values = self._advance(state, {})
        with self._database.transaction() as execute:
            rows = [self._changed(execute, job, settings, values) for job in jobs]
        return [LeaseLostError() if row is None else row for row in rows]

    def _advance(self, state: State, columns: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        ended = state in ENDS
        columns = {
            "state": state,
            "code": "",
            "not_before": 0,
            "attempts": 0 if ended else 1,
            **columns,
        }
        settings = [f"{name} = ?" for name in columns]
        if state in _TIMES:
            settings.append(f"{_TIMES[state]} = {self._clock}")
        if ended:
            settings.append("lease_until = NULL")
        return ", ".join(settings), tuple(columns.values())

    def discard(self, job: Job) -> None:
        """Remove a claimed row: it turned out to be an object that has a row already."""
        with self._database.transaction() as execute:
            gone = execute(
                "DELETE FROM job WHERE id = ? AND claims = ? AND lease_until IS NOT NULL RETURNING id",
                (job.id, job.claims),
            )
        if not gone:
            raise LeaseLostError

    def give_back(self, job: Job, *, code: str, seconds: float, used: bool) -> None:
        """Free a claimed row to be tried again in so many seconds; the attempt counts only if it was `used`."""
        self._update(
            job,
            f"lease_until = NULL, not_before = {self._clock} + ?, code = ?, attempts = attempts - ?",
            (min(seconds, LONGEST), code, 0 if used else 1),
        )

    def release(self, host: str) -> int:
        """Free all rows that this node had claimed, for its process has ended; return how many."""
        with self._database.transaction() as execute:
            freed = "UPDATE job SET lease_until = NULL WHERE claimed_by = ? AND lease_until IS NOT NULL"
            execute(f"{freed.replace('job', 'push')} RETURNING id", (host,))
            return len(execute(f"{freed} RETURNING id", (host,)))

    def last_arrival(self, study_instance_uid: str) -> float:
        """Return when the latest object of a study was found, in seconds since 1970; 0 if none was."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT MAX(found_at) FROM job WHERE study_instance_uid = ?", (study_instance_uid,)
            )
        return float(rows[0][0] or 0)

    def judge_again(self) -> int:
        """Let skipped rows begin again, for the rules may be others now; return how many.

        The files of those that came by C-STORE are gone: they are judged again when they are sent again.
        """
        with self._database.transaction() as execute:
            return len(
                execute(
                    "UPDATE job SET state = 'found', attempts = 0, not_before = 0, done_at = NULL, code = '', host = '', spool = '' "
                    "WHERE state = 'skipped' AND source <> 'c-store' RETURNING id"
                )
            )

    def retry(self, ids: Sequence[int] | None) -> int:
        """Let parked rows begin again, those with these ids or all; return how many."""
        chosen, values = ("", ()) if ids is None else _among(ids)
        # Its columns show how far it had come.
        stage = (
            "CASE WHEN stored_at IS NOT NULL THEN 'stored' WHEN report_uid <> '' THEN 'made' "
            "WHEN spool <> '' THEN 'fetched' ELSE 'found' END"
        )
        with self._database.transaction() as execute:
            return len(
                execute(
                    f"UPDATE job SET state = {stage}, attempts = 0, not_before = 0, done_at = NULL, code = '' "
                    f"WHERE state = 'parked'{chosen} RETURNING id",
                    values,
                )
            )

    def park(self, ids: Sequence[int], code: str) -> int:
        """Park waiting rows that nobody works on; return how many."""
        chosen, values = _among(ids)
        with self._database.transaction() as execute:
            return len(
                execute(
                    f"UPDATE job SET state = 'parked', code = ?, done_at = {self._clock}, lease_until = NULL "
                    f"WHERE state IN ({listed(WAITING)}) AND (lease_until IS NULL OR lease_until < {self._clock})"
                    f"{chosen} RETURNING id",
                    (code, *values),
                )
            )

    def counts(self) -> dict[State, int]:
        """Return how many rows are in each state; their sum is all that was ever found."""
        with self._database.transaction() as execute:
            found: dict[str, int] = dict(execute("SELECT state, COUNT(*) FROM job GROUP BY state"))
        return {state: found.get(state, 0) for state in State}

    def codes(self) -> dict[tuple[State, str], int]:
        """Return how many rows have each pair of state and code."""
        with self._database.transaction() as execute:
            rows = execute("SELECT state, code, COUNT(*) FROM job GROUP BY state, code ORDER BY state, code")
        return {(State(state), code): count for state, code, count in rows}

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        limit: int | None = None,
        where: Mapping[str, Any] | None = None,
        since: float = 0.0,
    ) -> Iterator[Job]:
        """Return rows in the order they were made, of these states or of all; read page by page, so that no transaction stays open.

        Args:
            states: Empty for all.
            limit: At most so many.
            where: Columns and the values that they must have.
            since: Found at this time or later, in seconds since 1970.
        """
        given = dict(where or {})
        if not given.keys() <= set(COLUMNS):
            raise ValueError(f"no such columns: {', '.join(sorted(given.keys() - set(COLUMNS)))}")
        chosen = "".join(f" AND {name} = ?" for name in given)
        if states:
            chosen += f" AND state IN ({listed(states)})"
        last, left = 0, limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            with self._database.transaction() as execute:
                rows = execute(
                    f"SELECT {', '.join(COLUMNS)} FROM job WHERE id > ? AND found_at >= ?{chosen} ORDER BY id LIMIT ?",
                    (last, since, *given.values(), page),
                )
            yield from map(_job, rows)
            if len(rows) < page:
                return
            last = int(rows[-1][0])
            left = None if left is None else left - page

    def mark(self, name: str) -> str:
        """Return what was last kept under a name; empty if nothing was."""
        with self._database.transaction() as execute:
            rows = execute("SELECT value FROM mark WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def set_mark(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self._database.transaction() as execute:
            _set_mark(execute, name, value)

    def integrity(self) -> str:
        """Return `ok`, or what is wrong with the database's files as far as it can tell."""
        return self._database.integrity()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _insert(self, execute: Execute, arrival: Arrival, state: State, **held: str) -> Rows:
        values = {name: getattr(arrival, name, "") for name in ARRIVAL} | held | {"state": str(state)}
        names = [*values, "found_at"] + ([_TIMES[state]] if state in _TIMES else [])
        times = [self._clock] * (len(names) - len(values))
        return execute(
            f"INSERT INTO job ({', '.join(names)}) VALUES ({', '.join(['?'] * len(values) + times)}) "
            "ON CONFLICT DO NOTHING RETURNING id",
            tuple(values.values()),
        )

    def _update(self, job: Job, settings: str, values: Sequence[Any]) -> Job:
        """Change a row whose claim is still the one that `job` tells of."""
        with self._database.transaction() as execute:
            changed = self._changed(execute, job, settings, values)
        if changed is None:
            raise LeaseLostError
        return changed

    def _changed(self, execute: Execute, job: Job, settings: str, values: Sequence[Any]) -> Job | None:
        rows = execute(
            f"UPDATE job SET {settings} WHERE id = ? AND claims = ? AND lease_until IS NOT NULL "
            f"RETURNING {', '.join(COLUMNS)}",
            (*values, job.id, job.claims),
        )
        return _job(rows[0]) if rows else None


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(COLUMNS, row, strict=True))
    return Job(**(values | {"state": State(values["state"])}))


def _set_mark(execute: Execute, name: str, value: str) -> None:
    execute(
        "INSERT INTO mark (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _among(ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """Return a condition for these rows, and its values; no row for an empty list."""
    if not ids:
        return " AND FALSE", ()
    return f" AND id IN ({', '.join('?' * len(ids))})", tuple(ids)
