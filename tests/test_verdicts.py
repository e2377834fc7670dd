"""Verdicts of readers: what is one, and the file that keeps them."""

import csv
import io
from typing import Any

import pytest

from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.verdicts import COLUMNS, Verdict, VerdictFile, last_of


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def verdict(**values: Any) -> Verdict:
    number = values.pop("number", 1)
    given = {
        "time": "2026-03-01T09:30:00.000Z", "reader": "AB", "path": "a.jpeg", "sha256": "0" * 64, "model": "m@0",
        "probability": 0.25, "label": "NORMAL", "threshold": 0.5, "verdict": "agree", "note": "",
        "id": f"00000000-0000-4000-8000-{number:012x}",
    }  # fmt: skip
    return Verdict.from_json(given | values)


def test_a_verdict_is_kept_once_and_read_again_as_it_was(tmp_path):
    path = tmp_path / "v.csv"
    notes = ["", "=1+1", 'a "b", c', " -x", "'tis", "'=x", "ümläut", "two\nlines"]
    given = [verdict(number=i, note=note, probability=0.1 + i / 97) for i, note in enumerate(notes)]
    given[0] = verdict(number=0, probability=None, label="NOT_A_CHEST_FILM")
    file, other = VerdictFile(path), VerdictFile(path)
    for i, one in enumerate(given):
        assert (file, other)[i % 2].add(one)
        assert not (other, file)[i % 2].add(one)
    assert VerdictFile(path).all() == file.all() == other.all() == given
    assert path.stat().st_mode & 0o077 == 0
    table = rows(path.read_text())
    assert len(table) == len(notes)
    assert not any(cell.startswith(("=", "-")) for row in table for cell in row.values())


def test_the_last_verdict_of_a_reader_counts():
    given = [
        verdict(number=1), verdict(number=2, verdict="disagree"), verdict(number=3, reader="CD"),
        verdict(number=4, reader="CD", verdict="none"), verdict(number=5, sha256="1" * 64),
    ]  # fmt: skip
    assert [(one.reader, one.sha256[0], one.verdict) for one in last_of(given)] == [
        ("AB", "0", "disagree"),
        ("AB", "1", "agree"),
    ]


def test_a_line_that_a_crash_cut_off_is_taken_out(tmp_path):
    path = tmp_path / "v.csv"
    VerdictFile(path).add(verdict(number=1))
    whole = path.read_bytes()
    line = verdict(number=2).to_line().encode()
    for length in range(1, len(line)):
        path.write_bytes(whole + line[:length])
        file = VerdictFile(path)
        file.add(verdict(number=3))
        found = [one.id[-1] for one in file.all()]
        assert found == (["1", "2", "3"] if length == len(line) - 1 else ["1", "3"]), length
        assert path.read_bytes().endswith(b"\n")
    for length in range(len(whole.splitlines()[0]) + 1):
        path.write_bytes(whole[:length])
        VerdictFile(path).add(verdict(number=4))
        assert [one.id[-1] for one in VerdictFile(path).all()] == ["4"]


def test_another_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("path,label\na,b\n")
    with pytest.raises(UsageError, match=r"v\.csv"):
        VerdictFile(path)
    path.write_text(",".join(COLUMNS) + "\n" + verdict().to_line() + "nonsense\n")
    with pytest.raises(DataDamagedError, match="line 3"):
        VerdictFile(path)
    assert path.read_text().endswith("nonsense\n")


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "perhaps"}, {"sha256": "0"}, {"probability": 1.5}, {"probability": True}, {"threshold": None},
        {"time": "2026-13-01T09:30:00.000Z"}, {"id": "1"}, {"note": "x" * 1001}, {"label": ""}, {"more": 1}, {"reader": 3},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_verdict_is_refused(change):
    with pytest.raises(UsageError):
        verdict(**change)
