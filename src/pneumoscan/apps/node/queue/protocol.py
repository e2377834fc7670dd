"""What a queue can do, whichever database it lies in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pneumoscan.apps.node.queue.rows import Arrival, Job, State


class LeaseLostError(Exception):
    """Somebody else has claimed the row meanwhile; whatever was about to be written is theirs to write."""


class Queue(Protocol):
    """One table of jobs and one of marks. Every call is a transaction of its own, committed when it returns.

    May be used from several threads at once.
    """

    def now(self) -> float:
        """Return the database's clock, in seconds since 1970 (UTC)."""

    def add(self, arrivals: Iterable[Arrival], mark: tuple[str, str] | None = None) -> int:
        """Make a row in state `found` for each object that has none; return how many were new.

        Args:
            arrivals: What was found, in any order.
            mark: Name and value of a mark that is set in the same transaction.
        """

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
            None if the same object is known already; nothing is changed then.
        """

    def claim(self, host: str, seconds: float) -> Job | None:
        """Take the row that was tried least and waits longest, for so many seconds; its attempts rise by one.

        Rows whose only file is at another node are left to that node.
        """

    def claim_several(self, host: str, seconds: float, limit: int) -> list[Job]:
        """Take up to `limit` rows as `claim` does, but none that a process had twice before and never said anything about.

        Such a row may have killed that process, and with it the attempts of all others that the process had: `claim` it, and
        nothing else at the same time.
        """

    def extend(self, job: Job, seconds: float) -> None:
        """Keep a claimed row for so many seconds from now.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def record(self, job: Job, **columns: Any) -> Job:
        """Write columns of a claimed row, which stays claimed; return the row.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def stamp(self, job: Job) -> Job:
        """Keep the present as the time that a claimed row's results carry, unless one is kept; return the row.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def advance(self, job: Job, state: State, **columns: Any) -> Job:
        """Bring a claimed row to its next state, or to its end; its attempts begin anew, and an end frees it.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def advance_all(self, jobs: Sequence[Job], state: State) -> list[Job | LeaseLostError]:
        """Bring claimed rows to a state, in one transaction; return each, or that somebody else has it."""

    def discard(self, job: Job) -> None:
        """Remove a claimed row: it turned out to be an object that has a row already.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def give_back(self, job: Job, *, code: str, seconds: float, used: bool) -> None:
        """Free a claimed row to be tried again in so many seconds; the attempt counts only if it was `used`.

        Raises:
            LeaseLostError: Somebody else has it.
        """

    def release(self, host: str) -> int:
        """Free all rows that this node had claimed, for its process has ended; return how many."""

    def retry(self, ids: Sequence[int] | None) -> int:
        """Let parked rows begin again, those with these ids or all; return how many."""

    def park(self, ids: Sequence[int], code: str) -> int:
        """Park waiting rows that nobody works on; return how many."""

    def counts(self) -> dict[State, int]:
        """Return how many rows are in each state; their sum is all that was ever found."""

    def codes(self) -> dict[tuple[State, str], int]:
        """Return how many rows have each pair of state and code."""

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        limit: int | None = None,
        where: Mapping[str, Any] = ...,
        since: float = 0.0,
    ) -> Iterator[Job]:
        """Return rows in the order they were made, of these states or of all.

        Args:
            states: Empty for all.
            limit: At most so many.
            where: Columns and the values that they must have.
            since: Found at this time or later, in seconds since 1970.
        """

    def mark(self, name: str) -> str:
        """Return what was last kept under a name; empty if nothing was."""

    def set_mark(self, name: str, value: str) -> None:
        """Keep a value under a name."""

    def integrity(self) -> str:
        """Return `ok`, or what is wrong with the database's files as far as it can tell."""

    def close(self) -> None:
        """Close the connections."""


Opened = AbstractContextManager[Queue]
