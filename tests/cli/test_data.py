"""`pneumoscan data` as a user meets it, and the progress it shares with the other commands."""

import io
import json
import os
import shutil
import sys
import zipfile
from functools import partial

import command_line
import pytest

from pneumoscan.cli import options
from pneumoscan.cli.options import progress

_run = partial(command_line.run, "data")


@pytest.fixture
def archive(tmp_path, film_folder):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for film in sorted(film_folder.rglob("*.jpeg")):
            file.write(film, f"chest_xray/{film.relative_to(film_folder)}")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems allow no such names.")
def test_names_that_are_not_utf_8(tmp_path, film_folder):
    folder = tmp_path / os.fsdecode(b"r\xe9\xff")
    shutil.copytree(film_folder, folder)
    film = next((folder / "train" / "NORMAL").iterdir())
    film.rename(film.with_name(os.fsdecode(b"IM-0001-\xe9.jpeg")))
    (folder / "train" / "PNEUMONIA" / os.fsdecode(b"\xe8.jpeg")).write_bytes(b"no film")
    ended = _run("inspect", folder, "--out", folder / "made")
    assert ended.returncode == 0, ended.stderr
    assert "inspect.html" in ended.stdout
    told = (folder / "made" / "inspect.json").read_text(encoding="utf-8")
    assert os.fsencode(json.loads(told)["root"]) == os.fsencode(folder)
    assert "PNEUMONIA/\\udce8.jpeg" in told
    assert "\\udce8.jpeg" in (folder / "made" / "inspect.html").read_text(encoding="utf-8")


def test_fetch_from_a_zip(tmp_path, archive):
    ended = _run("fetch", tmp_path / "out", "--zip", archive, "--no-verify")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "train/NORMAL" in ended.stdout
    assert "60 films in" in ended.stdout
    assert "not verified" in ended.stdout


def test_fetch_says_what_is_missing(tmp_path, archive):
    ended = _run("fetch", tmp_path / "out", "--zip", archive)
    assert ended.returncode == 5
    assert ended.stdout == ""
    assert ended.stderr.startswith("error [data.damaged]")
    assert "train/NORMAL: 18 instead of 1341" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_fetch_of_no_archive(tmp_path):
    (tmp_path / "x.zip").write_text("no")
    ended = _run("fetch", tmp_path / "out", "--zip", tmp_path / "x.zip")
    assert (ended.returncode, ended.stderr.split(":")[0]) == (5, "error [data.archive]")


def test_inspect_prints_and_writes(film_folder, tmp_path):
    (film_folder / "train" / "COVID").mkdir()
    ended = _run("inspect", film_folder, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "inspect-films/inspect.html").is_file()
    assert "inspect-films/inspect.html" in ended.stdout
    assert "train/COVID" in ended.stdout


def test_inspect_as_json(film_folder, tmp_path):
    ended = _run("inspect", film_folder, "--out", tmp_path / "here", "--json")
    assert ended.returncode == 0, ended.stderr
    assert isinstance(json.loads(ended.stdout), dict)
    assert (tmp_path / "here/inspect.json").is_file()


def test_inspect_of_nothing(tmp_path):
    ended = _run("inspect", tmp_path)
    assert ended.returncode == 4
    assert "DIR/train/NORMAL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_phantom(tmp_path):
    ended = _run("phantom", tmp_path / "out", "--patients", "24", "--side", "64", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert "synthetic films in" in ended.stdout
    assert list((tmp_path / "out").rglob("*/NORMAL/*"))


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("Decoding films") as report:
        for done in range(1, 4):
            report(done, 3)
    shown = terminal.getvalue()
    assert "Decoding films" in shown
    assert "3/3" in shown
    assert "\x1b[3" not in shown


def test_progress_elsewhere_is_sparse(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(options.time, "monotonic", lambda: now[0])
    with progress("Decoding films") as report:
        for done in range(1, 101):
            now[0] += 0.1
            report(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "Decoding films: 100 of 100, 10 s"
    assert 2 <= len(lines) <= 3


def test_short_work_says_nothing_elsewhere(capsys):
    with progress("Decoding films") as report:
        report(1, 1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_inspect_several_places(film_folder, tmp_path):
    other = film_folder.rename(tmp_path / "b=c")
    ended = _run("inspect", f"one={other}", "--data", other, "--out", "here", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["layout"], found["n_films"]) == ("sites", 120)
    ended = _run("inspect", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.split(":")[0]) == (2, "error [usage]")
