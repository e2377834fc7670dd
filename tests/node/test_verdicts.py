"""Verdicts on what the node found: kept once, chained, shown, and counted by week."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from queue_rows import job

from pneumoscan.cli import app
from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.node.audit import verify
from pneumoscan.node.config import load_config
from pneumoscan.node.desk import NAME, VerdictBook, films_of, keep_picture, picture_of
from pneumoscan.node.queue import Arrival, Queue, State, open_queue
from pneumoscan.node.settings import Config
from pneumoscan.node.watch.agreement import verdicts_by_week

FOUND = {
    "pixels_sha256": "a" * 64, "label": "PNEUMONIA", "probability": 0.75, "threshold": 0.5, "operating_point": "balanced",
    "model": "tiny@0123456789ab", "warnings": "near_threshold;low_contrast",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "node.toml"
    path.write_text("[node]\npictures = 2\n", encoding="utf-8")
    config = load_config(path)
    config.data.mkdir()
    return config


@pytest.fixture
def queue(config: Config) -> Any:
    """Four films that were read, and one that was refused."""
    with closing(open_queue(config.data)) as queue:
        for number in range(5):
            queue.add([Arrival(f"1.2.{number}", study_date="20260105" if number < 3 else "20260112")])
            claimed = queue.claim("here", 60)
            assert claimed is not None
            if number == 4:
                queue.advance(claimed, State.REFUSED, code="film.view")
            else:
                queue.advance(
                    claimed, State.DONE, **FOUND | ({"label": "NOT_A_CHEST_FILM"} if number == 3 else {})
                )
        yield queue


def given(number: int = 1, which: int = 1, **changes: Any) -> dict[str, Any]:
    values = {
        "object": number, "reader": "AB", "verdict": "agree", "note": "", "time": "2026-01-06T09:30:00.000Z",
        "id": f"00000000-0000-4000-8000-{which:012x}",
    }  # fmt: skip
    return values | changes


def test_a_verdict_is_kept_once_with_what_the_model_had_answered(config: Config, queue: Queue) -> None:
    book = VerdictBook(config)
    assert book.add(queue, given(note='ü "quoted"'))
    assert not book.add(queue, given())
    (kept,) = VerdictBook(config).all()
    assert (kept.object, kept.said.label, kept.said.probability, kept.said.note) == (
        1,
        "PNEUMONIA",
        0.75,
        'ü "quoted"',
    )
    book.add(queue, given(4, 2))
    assert VerdictBook(config).all()[-1].said.probability is None
    assert (config.data / NAME).stat().st_mode & 0o077 == 0


def test_many_at_once_are_each_kept_once_and_chained(config: Config, queue: Queue) -> None:
    def add(number: int) -> bool:
        return VerdictBook(config).add(queue, given(1 + number % 4, number // 2))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(add, range(40))) == 20
    assert verify(config.data / NAME) == 20
    lines = (config.data / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    (config.data / NAME).write_text(
        "".join([lines[0].replace("agree", "disagree"), *lines[1:]]), encoding="utf-8"
    )
    with pytest.raises(DataDamagedError, match="line 2"):
        verify(config.data / NAME)


@pytest.mark.parametrize("length", [1, 40, -1])
def test_a_line_that_a_crash_cut_off_loses_that_line_alone(config: Config, queue: Queue, length: int) -> None:
    book = VerdictBook(config)
    book.add(queue, given(1, 1))
    whole = (config.data / NAME).read_bytes()
    (config.data / NAME).write_bytes(whole + whole.rstrip(b"\n")[:length])
    assert book.add(queue, given(2, 2))
    assert [one.object for one in book.all()] == [1, 2]
    verify(config.data / NAME)


@pytest.mark.parametrize(
    "change",
    [
        {"object": 99},
        {"object": 5},
        {"object": "1"},
        {"object": True},
        {"verdict": "yes"},
        {"label": "NORMAL"},
        {"id": "x"},
    ],
    ids=str,
)
def test_what_is_no_verdict_is_refused(config: Config, queue: Queue, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VerdictBook(config).add(queue, given() | change)
    assert VerdictBook(config).all() == []


def test_the_last_verdict_of_each_reader_counts_by_week(config: Config, queue: Queue) -> None:
    book = VerdictBook(config)
    said = [
        (1, "AB", "agree"), (1, "AB", "disagree"), (1, "CD", "agree"), (2, "AB", "agree"), (3, "AB", "cannot_say"),
        (4, "AB", "agree"), (4, "CD", "agree"), (4, "CD", "none"),
    ]  # fmt: skip
    for which, (number, reader, word) in enumerate(said):
        assert book.add(queue, given(number, which, reader=reader, verdict=word))
    weeks = verdicts_by_week(queue.jobs(), book.all())
    told = [(one.week, one.agree.count, one.agree.of, one.disagree, one.cannot_say) for one in weeks]
    assert told == [("2026-W02", 2, 3, 1, 1), ("2026-W03", 1, 1, 0, 0), ("", 3, 4, 1, 1)]
    assert weeks[0].agree.ci95 == pytest.approx((0.2077, 0.9385), abs=1e-3)
    assert verdicts_by_week([job(date(2026, 1, 5), id=77)], book.all()) == []


def test_the_latest_pictures_are_kept_for_their_owner(config: Config, queue: Queue) -> None:
    for number in (1, 2, 10):
        keep_picture(config, number, b"jpeg %d" % number)
    assert [picture_of(config, number) for number in (1, 2, 10)] == [None, b"jpeg 2", b"jpeg 10"]
    folder = config.data / "pictures"
    assert folder.stat().st_mode & 0o077 == (folder / "2.jpg").stat().st_mode & 0o077 == 0
    VerdictBook(config).add(queue, given(2))
    films = films_of(queue, config, VerdictBook(config))
    assert [(film["id"], film["picture"], len(film["verdicts"])) for film in films] == [
        (4, False, 0), (3, False, 0), (2, True, 1), (1, False, 0),
    ]  # fmt: skip
    assert films[0]["probability"] is None
    assert films[1]["warnings"] == ["near_threshold", "low_contrast"]


def run(config: Config, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["node", *arguments, "--config", str(config.folder / "node.toml")])


def test_show_prints_a_finding_and_its_verdicts(config: Config, queue: Queue) -> None:
    VerdictBook(config).add(queue, given(1, note="a scar", verdict="disagree"))
    keep_picture(config, 1, b"jpeg")
    said = run(config, "show", "1").stdout
    for part in (
        "object 1: done",
        "PNEUMONIA",
        "0.750000",
        "tiny@0123456789ab",
        "near_threshold",
        "1.jpg",
        "AB: disagree, a scar",
    ):
        assert part in said
    assert "probability" not in run(config, "show", "4").stdout
    assert "film.view" in run(config, "show", "5").stdout
    told = json.loads(run(config, "show", "1", "--json").stdout)
    assert (told["label"], told["verdicts"][0]["verdict"], told["picture"]) == (
        "PNEUMONIA", "disagree", str(config.data / "pictures" / "1.jpg"),
    )  # fmt: skip
    assert run(config, "show", "99").exit_code != 0


def test_watch_and_metrics_tell_how_often_readers_agree(config: Config, queue: Queue) -> None:
    assert json.loads(run(config, "watch", "--json").stdout)["verdicts"] == []
    VerdictBook(config).add(queue, given(1))
    assert "2026-W02: readers agree" in run(config, "watch").stdout
    told = json.loads(run(config, "watch", "--json").stdout)["verdicts"]
    assert told[-1]["agree"]["count"] == 1
    assert 'pneumoscan_node_verdicts{verdict="agree"} 1.0' in run(config, "metrics").stdout
