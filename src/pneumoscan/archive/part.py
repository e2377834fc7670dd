"""A part of an archive: the rows of one shard as a CSV or Parquet file.

A CSV part is what `pneumoscan predict` writes, to the byte. A Parquet part has the same columns; its probability is a float64 or
null, its warnings are a list.
"""

import csv
from io import BytesIO, StringIO
from typing import Any, NamedTuple

from pneumoscan.errors import DataDamagedError, MissingDependencyError, importing
from pneumoscan.rows import COLUMNS, PredictionRow, header

FORMATS = ("parquet", "csv")


class Answered(NamedTuple):
    """What a part says of one input, as far as it is verified.

    Attributes:
        path: The column `path`, as `shown` writes it.
        status: The column `status`.
        error_code: The column `error_code`.
        model: The column `model`.
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
