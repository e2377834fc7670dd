"""What a node has done and what waits: for `node status`, for monitoring, and for the page."""

from dataclasses import dataclass

from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.config.tables import ROLES
from pneumoscan.apps.node.find import LAST_LOOK, LAST_PROBLEM
from pneumoscan.apps.node.queue import WAITING, Queue, State
from pneumoscan.errors import LockedError
from pneumoscan.files import locked


@dataclass(frozen=True)
class Status:
    """How a node stands.

    Attributes:
        counts: Rows in each state; their sum is all that was found.
        codes: Rows by `state(code)` of those that have a code.
        oldest_seconds: How long the oldest row waits; None if none does.
        looked_seconds: How long ago new films were last looked for with success; None if that was never.
        problem: Code of what keeps it from looking; empty if nothing does.
        mode: Of the settings: `shadow` or `live`.
        running_mode: That the node was last started in; empty if it never was.
        running: Roles that processes on this machine have now; empty if the node does not run here.
    """

    counts: dict[State, int]
    codes: dict[str, int]
    oldest_seconds: float | None
    looked_seconds: float | None
    problem: str
    mode: str
    running_mode: str
    running: tuple[str, ...]

    @property
    def found(self) -> int:
        """All that was found."""
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        """What is still to be done."""
        return sum(self.counts[state] for state in WAITING)

    def to_json(self) -> dict[str, object]:
        """Return the JSON types."""
        return {
            "found": self.found,
            "waiting": self.waiting,
            "counts": {str(state): count for state, count in self.counts.items()},
            "codes": self.codes,
            "oldest_seconds": self.oldest_seconds,
            "looked_seconds": self.looked_seconds,
            "problem": self.problem,
            "mode": self.mode,
            "running_mode": self.running_mode,
            "running": list(self.running),
        }


def started_mode(config: Config) -> str:
    """Return the name of the mark with the mode that this node was last started in."""
    return f"mode {config.name}"


def running_roles(config: Config) -> tuple[str, ...]:
    """Return the roles that processes on this machine have now, for the data folder of these settings."""
    running = []
    for role in ROLES:
        path = config.data / f"{role}.lock"
        try:
            if path.exists():
                with locked(path):
                    pass
        except LockedError:
            running.append(role)
    return tuple(running)


def status_of(queue: Queue, config: Config) -> Status:
    """Return how the node of a queue stands."""
    now = queue.now()
    codes = {f"{state}({code})": count for (state, code), count in queue.codes().items() if code}
    oldest = next(queue.jobs(WAITING, limit=1), None)
    last = queue.mark(LAST_LOOK)
    return Status(
        queue.counts(),
        codes,
        None if oldest is None else max(0.0, now - oldest.found_at),
        max(0.0, now - float(last)) if last else None,
        queue.mark(LAST_PROBLEM),
        config.node.mode,
        queue.mark(started_mode(config)),
        running_roles(config),
    )
