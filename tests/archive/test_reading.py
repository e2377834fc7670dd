"""Films that end or block the process that reads them, and processes that are killed by something else."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from pneumoscan.archive.film_readers import MOST_DEATHS, FilmReader
from pneumoscan.archive.inputs import ArchiveSettings, model_facts
from pneumoscan.errors import BundleError, EnvironmentProblemError, PneumoscanError
from pneumoscan.predict.batch import predict_many

# A reader that films of these names end, block or kill once.
FRAGILE = """
import os, signal, sys, time
from pathlib import Path
from pneumoscan.archive import film_readers as reading
from pneumoscan.predict import batch
true = batch.predict_many
def fragile(bundle, sources, **options):
    for source in sources:
        name = Path(source).name
        if name.startswith("kills"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("blocks"):
            time.sleep(60)
        if name.startswith("once") and not Path(source + ".seen").exists():
            Path(source + ".seen").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from true(bundle, [source], **options)
batch.predict_many = fragile
sys.exit(reading.main(sys.argv[1:]))
"""


@pytest.fixture
def settings(bundle) -> ArchiveSettings:
    return ArchiveSettings(**model_facts(bundle), threshold=0.5, format="csv", part_size=10)


@pytest.fixture
def paths(films: Path) -> list[str]:
    return sorted(str(path) for path in films.rglob("*.png"))


@pytest.fixture
def fragile(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    return sys.executable, str(tmp_path / "fragile.py")


def expected(bundle, paths):
    return list(predict_many(bundle, paths, workers=1, threshold=0.5))


def test_rows_are_those_of_predict(bundle, settings, paths) -> None:
    reader = FilmReader(bundle.path, settings)
    try:
        assert reader.rows(paths) == expected(bundle, paths)
        assert reader.rows(paths[:2]) == expected(bundle, paths[:2])
        assert reader.rows([]) == []
    finally:
        reader.close()


def test_a_film_that_ends_its_process_is_refused_and_no_other(bundle, settings, paths, fragile) -> None:
    bad = [str(Path(paths[2]).with_name("kills.png")), str(Path(paths[2]).with_name("kills too.png"))]
    asked = [*paths[:3], *bad, *paths[3:]]
    reader = FilmReader(bundle.path, settings, command=fragile)
    try:
        rows = reader.rows(asked)
    finally:
        reader.close()
    assert [row.path for row in rows] == asked
    assert rows[:3] + rows[5:] == expected(bundle, paths)
    for row in rows[3:5]:
        assert (row.status, row.error_code, row.probability) == ("refused", "film.crash", None)
        assert f"was ended by SIGSEGV, {MOST_DEATHS} times" in row.error


def test_a_film_whose_process_was_killed_is_read_again(bundle, settings, paths, fragile) -> None:
    once = [str(Path(path).rename(Path(path).with_name(f"once {Path(path).name}"))) for path in paths[:6]]
    reader = FilmReader(bundle.path, settings, command=fragile)
    try:
        assert reader.rows([*once, *paths[6:]]) == expected(bundle, [*once, *paths[6:]])
    finally:
        reader.close()


def test_a_film_that_blocks_its_process_is_refused(bundle, settings, paths, fragile, monkeypatch) -> None:
    monkeypatch.setattr("pneumoscan.archive.film_readers.MOST_DEATHS", 1)
    bad = str(Path(paths[0]).with_name("blocks.png"))
    reader = FilmReader(bundle.path, settings, command=fragile, seconds=1.5)
    try:
        rows = reader.rows([paths[0], bad, paths[1]])
    finally:
        reader.close()
    assert rows[::2] == expected(bundle, paths[:2])
    assert (rows[1].error_code, rows[1].path) == ("film.timeout", bad)
    assert "took longer than 1.5 s" in rows[1].error


def test_kills_from_outside_change_no_row(bundle, settings, paths) -> None:
    many = paths * 30
    reader = FilmReader(bundle.path, settings)
    over = threading.Event()

    def kill() -> None:
        for pause in (0.6, 0.8, 0.5):
            if not over.wait(pause) and reader._process is not None:
                os.kill(reader._process._process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert reader.rows(many) == expected(bundle, many)
    finally:
        over.set()
        killer.join()
        reader.close()


def test_another_model_is_an_error(bundle, settings, paths) -> None:
    from dataclasses import replace

    reader = FilmReader(bundle.path, replace(settings, model_sha256="0" * 64))
    with pytest.raises(BundleError, match="not that of the archive"):
        reader.rows(paths)
    reader.close()
    reader = FilmReader(bundle.path.with_name("none"), settings)
    with pytest.raises(PneumoscanError, match=r"none"):
        reader.rows(paths)
    reader.close()


def test_a_process_that_never_starts_is_an_error(bundle, settings, paths, monkeypatch) -> None:
    monkeypatch.setattr("pneumoscan.archive.film_readers._LONGEST_PAUSE", 0.0)
    reader = FilmReader(bundle.path, settings, command=(sys.executable, "-c", "raise SystemExit(7)"))
    with pytest.raises(EnvironmentProblemError, match="ended with exit code 7 12 times"):
        reader.rows(paths)
    reader.close()
