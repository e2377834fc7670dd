"""`pneumoscan archive`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from click.testing import CliRunner
from PIL import Image

from pneumoscan.cli import app
from pneumoscan.errors import MissingDependencyError, NothingUsableError, UsageError


@pytest.fixture
def films(tmp_path: Path, draw_film) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(draw_film(np.random.default_rng(number), (60, 70))).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def invoke(tmp_path: Path, films: Path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    model = tiny_bundle.write_tiny_bundle(tmp_path / "bundle")

    def call(*arguments: object):
        options = ["--out", tmp_path / "out", "--model", model, "--format", "csv", "--workers", 1]
        return CliRunner().invoke(app, ["archive", *map(str, [films, *options, *arguments])])

    return call


def test_counts_and_exit_codes(invoke, films: Path) -> None:
    done = invoke("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["inputs"], told["ok"], told["refused"], told["parts"]) == (3, 3, 0, 1)
    assert not told["finished_before"]
    again = invoke()
    assert (again.exit_code, "was finished before" in again.stderr) == (0, True)
    assert "3 rows in 1 parts: 3 ok, 0 refused" in again.stdout


def test_refused_films_set_the_exit_code(invoke, films: Path) -> None:
    (films / "bad.png").write_bytes(b"no film")
    assert invoke().exit_code == 3
    assert invoke().exit_code == 3


def test_no_usable_film(invoke, films: Path) -> None:
    for film in films.iterdir():
        film.write_bytes(b"no film")
    assert isinstance(invoke().exception, NothingUsableError)


def test_options_that_exclude_each_other(invoke) -> None:
    assert isinstance(invoke("--threshold", 0.5, "--operating-point", "balanced").exception, UsageError)
    assert "--launcher ray" in str(invoke("--address", "auto").exception)


def test_a_cluster_needs_absolute_paths(invoke) -> None:
    problem = invoke("films", "--launcher", "ray", "--address", "head:6379").exception
    assert isinstance(problem, UsageError)
    assert "films is a relative path" in str(problem)


def test_without_ray_it_says_what_to_install(invoke, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    problem = invoke("--launcher", "ray").exception
    assert isinstance(problem, MissingDependencyError)
    assert "pneumoscan[archive]" in str(problem)
