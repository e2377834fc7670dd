"""What a worker does with a shard: it reads the films and writes the part, whichever launcher runs it."""

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pneumoscan.archive.part import answered, encoded, part_name
from pneumoscan.archive.plan import ArchiveSettings, read_shard
from pneumoscan.archive.reading import FilmReader
from pneumoscan.archive.storage import open_folder
from pneumoscan.error_values import error_values
from pneumoscan.errors import DataDamagedError, PneumoscanError


@dataclass(frozen=True)
class ShardJob:
    """What a worker must know.

    Attributes:
        out: Path or URL of the folder.
        model: Folder of the bundle, at the same path on every machine.
        settings: See `ArchiveSettings`.
    """

    out: str
    model: Path
    settings: ArchiveSettings

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"out": self.out, "model": str(self.model), "settings": asdict(self.settings)})

    @classmethod
    def from_text(cls, text: str) -> "ShardJob":
        """Return the job of a text."""
        values = json.loads(text)
        return cls(values["out"], Path(values["model"]), ArchiveSettings(**values["settings"]))


@dataclass(frozen=True)
class Done:
    """A shard whose part is written.

    Attributes:
        shard: Its number.
        ok: Films that were read.
        refused: The others.
    """

    shard: int
    ok: int
    refused: int


class ShardLauncher(Protocol):
    """Runs a `ShardWorker` for every shard, somewhere."""

    def map(self, job: ShardJob, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards and yield each when it is written, in any order.

        Raises:
            PneumoscanError: What concerns every film.
        """


class ShardWorker:
    """Reads one shard after the other. It may be killed at any time: a part is written in one step, and always the same."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._folder = open_folder(job.out)
        self._reader = FilmReader(job.model, job.settings)

    def work(self, shard: int) -> Done:
        """Read the films of a shard and write its part, if it is not there."""
        file_format = self._job.settings.format
        name = part_name(shard, file_format)
        # A worker that was killed may have written it without saying so.
        statuses = _statuses(self._folder.read(name), file_format)
        if statuses is None:
            rows = self._reader.rows(read_shard(self._folder, shard))
            self._folder.write(name, encoded(rows, file_format))
            statuses = [row.status for row in rows]
        return Done(shard, statuses.count("ok"), statuses.count("refused"))

    def close(self) -> None:
        """End the process that reads films."""
        self._reader.close()


def _statuses(part: bytes | None, file_format: str) -> list[str] | None:
    """Return the column `status` of a part; None if it is absent or damaged."""
    if part is None:
        return None
    try:
        return [row.status for row in answered(part, file_format)]
    except DataDamagedError:
        return None


# Workers on this machine


class LocalWorkers:
    """Runs a `ShardWorker` with its process in each of several threads; see `ShardLauncher`.

    Args:
        workers: Number of processes that read films.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(self, job: ShardJob, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards; see `ShardLauncher`."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for shard in shards:
            todo.put(shard)
        answers: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()
        workers = [ShardWorker(job) for _ in range(min(self._workers, len(shards)))]
        threads = [
            threading.Thread(target=_work, args=(worker, todo, answers), daemon=True) for worker in workers
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in shards:
                answer = answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            for worker in workers:
                worker.close()


def _work(
    worker: ShardWorker, todo: "queue.SimpleQueue[int]", answers: "queue.SimpleQueue[Done | BaseException]"
) -> None:
    try:
        while True:
            answers.put(worker.work(todo.get_nowait()))
    except queue.Empty:
        pass
    except BaseException as problem:  # noqa: BLE001 - the thread that asks must learn of it
        answers.put(problem)


# Workers of Ray, which need nothing of Ray itself


class ShardActor:
    """Maps batches of shards' numbers to lines for stdout, in a worker of Ray."""

    def __init__(self, job: str) -> None:
        self._worker = ShardWorker(ShardJob.from_text(job))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Write the parts of the shards in the column `shard`; errors that concern every film are lines too."""
        return {"line": [self._line(int(shard)) for shard in batch["shard"]]}

    def _line(self, shard: int) -> str:
        try:
            return json.dumps(vars(self._worker.work(shard)))
        except PneumoscanError as problem:
            return json.dumps(error_values(problem))
