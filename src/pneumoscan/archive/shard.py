"""What a worker does with a shard: it reads the films and writes the part, whichever launcher runs it."""

import csv
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pneumoscan.archive.film_readers import FilmReader
from pneumoscan.archive.inputs import ArchiveSettings, read_shard
from pneumoscan.archive.storage import open_folder
from pneumoscan.error_values import error_values
from pneumoscan.errors import DataDamagedError, MissingDependencyError, PneumoscanError, importing
from pneumoscan.rows import COLUMNS, PredictionRow, header

FORMATS = ("parquet", "csv")


class Answered(NamedTuple):
    """What a part says of one input, as far as it is verified.

    Attributes:
        path: The column `path`, as `shown` writes it.
    """

    path: str
    status: str
    error_code: str
    model: str


def part_name(number: int, file_format: str) -> str:
    """Return the file name of a shard's part."""
    return f"part-{number:06d}.{file_format}"


def check_format(file_format: str) -> None:
    """Raise MissingDependencyError if parts of this format cannot be written here."""
    if file_format == "parquet":
        _arrow()


def encoded(rows: list[PredictionRow], file_format: str) -> bytes:
    """Return the bytes of a part; equal rows give equal bytes."""
    if file_format == "csv":
        return header("csv") + b"".join(row.to_line("csv") for row in rows)
    return _parquet(rows)


def answered(data: bytes, file_format: str) -> list[Answered]:
    """Return what a part says of its inputs, in order.

    Raises:
        DataDamagedError: The bytes are no part.
    """
    try:
        return _from_csv(data) if file_format == "csv" else _from_parquet(data)
    except MissingDependencyError:
        raise
    except Exception as problem:
        raise DataDamagedError(f"not a {file_format} part: {problem}") from problem


def shown(path: str, file_format: str) -> str:
    r"""Return a path as it stands in a part. Parquet has UTF-8 only, so other bytes become `\udcXX` there."""
    return path if file_format == "csv" else path.encode("utf-8", "backslashreplace").decode()


def _from_csv(data: bytes) -> list[Answered]:
    if not data.startswith(header("csv")) or not data.endswith(b"\n"):
        raise DataDamagedError("the header or the last line is missing.")
    table = csv.DictReader(StringIO(data.decode("utf-8", "surrogateescape"), newline=""), strict=True)
    return [Answered(*(row[name] for name in Answered._fields)) for row in table]


def _parquet(rows: list[PredictionRow]) -> bytes:
    arrow, parquet = _arrow()
    text = arrow.string()
    kinds = {"probability": arrow.float64(), "threshold": arrow.float64(), "warnings": arrow.list_(text)}
    schema = arrow.schema([arrow.field(name, kinds.get(name, text)) for name in COLUMNS])
    records = [_utf8(row.to_json()) for row in rows]
    file = BytesIO()
    table = arrow.Table.from_pylist(records, schema=schema)
    parquet.write_table(table, file, write_page_checksum=True)
    return file.getvalue()


def _utf8(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: shown(values[name], "parquet") for name in ("path", "error")}


def _from_parquet(data: bytes) -> list[Answered]:
    _, parquet = _arrow()
    table = parquet.read_table(BytesIO(data), page_checksum_verification=True)
    if tuple(table.column_names) != COLUMNS:
        raise DataDamagedError("it has other columns.")
    columns = (table.column(name).to_pylist() for name in Answered._fields)
    return [Answered(*values) for values in zip(*columns, strict=True)]


def _arrow() -> tuple[Any, Any]:
    with importing(otherwise="Or choose --format csv."):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet


@dataclass(frozen=True)
class ShardJob:
    """What a worker must know.

    Attributes:
        model: Folder of the bundle, at the same path on every machine.
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
    """A shard whose part is written."""

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
