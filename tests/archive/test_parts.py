"""Parts in CSV and Parquet."""

import os

import pytest

from pneumoscan.archive.shard import answered, encoded, shown
from pneumoscan.errors import DataDamagedError, MissingDependencyError
from pneumoscan.rows import COLUMNS, PredictionRow, header

ROWS = [
    PredictionRow("a.png", "ok", 0.1 + 0.2, "NORMAL", 0.5, ("low_contrast", "unusual_shape"), "", "", "m@1"),
    PredictionRow('"b",\r\n.png', "refused", None, "", 0.5, (), "film.empty", "b is empty.", "m@1"),
    PredictionRow(os.fsdecode(b"\xff.png"), "ok", 1e-17, "NORMAL", 0.5, (), "", "", "m@1", "children"),
]


@pytest.fixture(params=["csv", "parquet"])
def file_format(request) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `archive` is not installed")
    return request.param


def test_a_part_says_what_was_written(file_format: str) -> None:
    data = encoded(ROWS, file_format)
    assert encoded(list(ROWS), file_format) == data
    assert answered(data, file_format) == [
        (shown(row.path, file_format), row.status, row.error_code, row.model) for row in ROWS
    ]


def test_a_csv_part_is_what_predict_writes() -> None:
    assert encoded(ROWS, "csv") == header("csv") + b"".join(row.to_line("csv") for row in ROWS)


def test_a_parquet_part_has_every_digit() -> None:
    pytest.importorskip("pyarrow", reason="the extra `archive` is not installed")
    from io import BytesIO

    from pyarrow import parquet

    table = parquet.read_table(BytesIO(encoded(ROWS, "parquet")))
    assert tuple(table.column_names) == COLUMNS
    values = table.to_pydict()
    assert values["probability"] == [0.1 + 0.2, None, 1e-17]
    assert values["warnings"] == [["low_contrast", "unusual_shape"], [], []]
    assert values["path"][2] == "\\udcff.png"


def test_damage_is_noticed(file_format: str) -> None:
    data = encoded(ROWS, file_format)
    for damaged in (b"", data[:-1], data[: len(data) // 2], data[:40] + b"?" + data[41:]):
        with pytest.raises(DataDamagedError):
            answered(damaged, file_format)


def test_without_pyarrow_it_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[archive\].*--format csv"):
        encoded(ROWS, "parquet")
