"""What a worker does with a shard: it reads the films and writes the part, whichever launcher runs it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pneumoscan.archive.listing import read_shard
from pneumoscan.archive.parts import answered, encoded, part_name
from pneumoscan.archive.plan import Settings
from pneumoscan.archive.reading import FilmReader
from pneumoscan.archive.storage import open_folder
from pneumoscan.errors import DataDamagedError


@dataclass(frozen=True)
class Job:
    """What a worker must know.

    Attributes:
        out: Path or URL of the folder.
        model: Folder of the bundle, at the same path on every machine.
        settings: See `Settings`.
    """

    out: str
    model: Path
    settings: Settings

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"out": self.out, "model": str(self.model), "settings": asdict(self.settings)})

    @classmethod
    def from_text(cls, text: str) -> "Job":
        """Return the job of a text."""
        values = json.loads(text)
        return cls(values["out"], Path(values["model"]), Settings(**values["settings"]))


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


class Launcher(Protocol):
    """Runs a `ShardWorker` for every shard, somewhere."""

    def map(self, job: Job, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards and yield each when it is written, in any order.

        Raises:
            PneumoscanError: What concerns every film.
        """


class ShardWorker:
    """Reads one shard after the other. It may be killed at any time: a part is written in one step, and always the same."""

    def __init__(self, job: Job) -> None:
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
