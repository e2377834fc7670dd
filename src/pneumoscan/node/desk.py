"""What readers say of the answers of the node: beside the queue, one JSON line for each verdict, hash-chained as the audit.

A verdict has an identifier of its own, so one that comes twice is kept once. The last one of a reader on an object counts.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from pneumoscan.errors import UsageError
from pneumoscan.files import write_atomic
from pneumoscan.node.audit import Audit
from pneumoscan.node.queue import Job, Queue, State
from pneumoscan.node.settings import Config
from pneumoscan.verdicts import NONE, Verdict

NAME = "verdicts.jsonl"
_GIVEN = ("object", "reader", "verdict", "note", "time", "id")
_SHOWN = 500


@dataclass(frozen=True)
class NodeVerdict:
    """A verdict, and the number of the object's row in the queue."""

    object: int
    said: Verdict


class VerdictBook:
    """The verdicts of a node."""

    def __init__(self, config: Config) -> None:
        self.path = config.data / NAME
        self._file = Audit(self.path)

    def all(self) -> list[NodeVerdict]:
        """Return all verdicts in the order in which they came; a line that a crash cut off is left out."""
        found = []
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            try:
                values = json.loads(line)
                said = Verdict(**{name: values[name] for name in Verdict.__dataclass_fields__})
            except (ValueError, KeyError, TypeError):
                continue
            found.append(NodeVerdict(int(values["object"]), said))
        return found

    def add(self, queue: Queue, given: Any) -> bool:
        """Keep a verdict, flushed to the disk; return False if one with its identifier is there already.

        Args:
            queue: Has the object.
            given: `object`, `reader`, `verdict`, `note`, `time`, `id`, as JSON types. What the model answered comes from the queue.

        Raises:
            UsageError: A value is missing or illegal, or the object was not read.
            NotWritableError, DiskFullError: It cannot be written.
        """
        if not isinstance(given, Mapping) or set(given) != set(_GIVEN):
            raise UsageError("a verdict does not have these values and no others.", ", ".join(_GIVEN))
        job = job_of(queue, given["object"])
        if job is None or not job.label:
            raise UsageError(
                "the object was not read, so there is nothing to agree with.", "pneumoscan node list"
            )
        said = Verdict.from_json(
            {name: given[name] for name in _GIVEN[1:]}
            | {
                "path": f"object {job.id}",
                "sha256": job.pixels_sha256,
                "model": job.model,
                "label": job.label,
            }
            | {"probability": shown_probability(job), "threshold": job.threshold}
        )
        return self._file.write_once("verdict", {"object": job.id, **said.to_json()}, key=said.id)


def job_of(queue: Queue, number: Any) -> Job | None:
    """Return a row of the queue by its number."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 1 << 62:
        return None
    return next(queue.jobs(where={"id": number}), None)


def shown_probability(job: Job) -> float | None:
    """Return the probability that people are shown: none for what is no chest film."""
    return None if job.label == "NOT_A_CHEST_FILM" else job.probability


def counting(verdicts: Iterable[NodeVerdict]) -> list[NodeVerdict]:
    """Return the verdicts that count: the last one of each reader on each object, without those taken back."""
    last = {(one.object, one.said.reader): one for one in verdicts}
    return [one for one in last.values() if one.said.verdict != NONE]


def keep_picture(config: Config, number: int, jpeg: bytes) -> None:
    """Keep the picture of an object that was read in shadow mode, and remove the oldest ones beyond `node.pictures`.

    Raises:
        NotWritableError, DiskFullError: It cannot be written.
    """
    folder = config.data / "pictures"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(folder / f"{number}.jpg", jpeg, mode=0o600)
    numbers = sorted(int(path.stem) for path in folder.glob("*.jpg") if path.stem.isdigit())
    for old in numbers[: -config.node.pictures]:
        (folder / f"{old}.jpg").unlink(missing_ok=True)


def picture_of(config: Config, number: int) -> bytes | None:
    """Return the picture of an object; None if none was kept."""
    try:
        return (config.data / "pictures" / f"{number:d}.jpg").read_bytes()
    except FileNotFoundError:
        return None


class Desk:
    """What people judge in the tab of a node, and their verdicts."""

    def __init__(self, config: Config, opened: Callable[[], AbstractContextManager[Queue]]) -> None:
        self._config, self._opened, self._book = config, opened, VerdictBook(config)

    def films(self) -> list[dict[str, Any]]:
        """Return the latest films; see `films_of`."""
        with self._opened() as queue:
            return films_of(queue, self._config, self._book)

    def picture(self, number: int) -> bytes | None:
        """Return the picture of a film; None if none was kept."""
        return picture_of(self._config, number)

    def add(self, given: Any) -> bool:
        """Keep a verdict; see `VerdictBook.add`."""
        with self._opened() as queue:
            return self._book.add(queue, given)


def films_of(queue: Queue, config: Config, book: VerdictBook) -> list[dict[str, Any]]:
    """Return what people judge: the latest objects that were read, newest first, with their verdicts, as JSON types."""
    said: dict[int, list[dict[str, Any]]] = {}
    for one in counting(book.all()):
        said.setdefault(one.object, []).append(one.said.to_json())
    names = ("id", "device", "study_date", "label", "threshold", "operating_point", "model", "done_at")
    read = [job for job in queue.jobs((State.DONE, State.STORED, State.MADE)) if job.label][-_SHOWN:]
    kept = {path.stem for path in (config.data / "pictures").glob("*.jpg")}
    return [
        {name: asdict(job)[name] for name in names}
        | {
            "probability": shown_probability(job),
            "warnings": [word for word in job.warnings.split(";") if word],
        }
        | {"picture": str(job.id) in kept, "verdicts": said.get(job.id, [])}
        for job in reversed(read)
    ]
