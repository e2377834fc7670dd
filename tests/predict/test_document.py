"""A PDF of one film's result: `predict --pdf`."""

import re
from pathlib import Path

import pytest

pytest.importorskip("reportlab", reason="reportlab is not installed (extra pdf)")

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image
from tiny_bundle import write_tiny_bundle

from pneumoscan.cli import app
from pneumoscan.imaging import read
from pneumoscan.predict.document import Words, identity_of, pdf_of
from pneumoscan.rows import PredictionRow


def row(**values):
    given = {
        "path": "a.png", "status": "ok", "probability": 0.25, "label": "NORMAL", "threshold": 0.5, "warnings": (),
        "error_code": "", "error": "", "model": "m@0123456789ab",
    }  # fmt: skip
    return PredictionRow(**(given | values))


@pytest.fixture
def film(draw_film, tmp_path):
    path = tmp_path / "film.png"
    Image.fromarray(draw_film(np.random.default_rng(1))).save(path)
    return read(path)


def test_the_same_film_gives_the_same_bytes(film):
    outline = np.asarray([[0.1, 0.1], [0.4, 0.1], [0.4, 0.8]])
    first, second = (pdf_of(film, row(), Words("a.png", "ab" * 32), [outline]) for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF-")
    assert first.rstrip().endswith(b"%%EOF")
    assert pdf_of(film, row(), Words("a.png", "ab" * 32)) != first
    assert pdf_of(film, row(probability=0.26), Words("a.png", "ab" * 32), [outline]) != first


@pytest.mark.parametrize(
    "title",
    [
        "",
        "plain.png",
        "胸部 ümläut\u202e.png",
        "x" * 4000,
        "a\nb\x00.png",
        "\udce4.png",
        "((\\)%.png",
        "word " * 300,
    ],
    ids=range(8),
)
def test_any_name_and_any_number_of_warnings_fit_on_a_page(film, title):
    warnings = (
        "near_threshold",
        "far_from_training_films",
        "low_contrast",
        "no_lungs",
        "unusual_shape",
        "one_lung",
    )
    document = pdf_of(
        film,
        row(warnings=warnings, label="UNSURE"),
        Words(title, "ab" * 32),
    )
    assert len(re.findall(rb"/Type /Page\b", document)) == 1


def test_the_identity_of_the_film_is_in_the_document(film):
    assert identity_of(pdf_of(film, row(), Words("a.png", identity="c" * 64))) == "c" * 64
    assert identity_of(b"%PDF-1.4 of somebody else") is None


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_folder_gets_a_document_for_each_film_and_a_bad_film_stops_nothing(
    draw_film, bundle, tmp_path, capsys
):
    films, out = tmp_path / "films", tmp_path / "out"
    for name in ("a", "b", "sub/a"):
        path = films / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_film(np.random.default_rng(len(name)))).save(path)
    (films / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = (films, "--model", bundle, "--pdf", out)
    assert predict(*arguments).exit_code == 3
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(first) == 3
    assert {"a.pdf", "b.pdf"} < set(first)
    assert all(data.startswith(b"%PDF-") for data in first.values())
    # Again: the same names and bytes; documents among the films are no films.
    assert predict(*arguments).exit_code == 3
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    (out / "c.pdf").write_bytes(b"%PDF-1.4 of somebody else")
    Image.fromarray(draw_film(np.random.default_rng(9))).save(films / "c.png")
    assert predict(*arguments).exit_code == 3
    assert (out / "c.pdf").read_bytes() == b"%PDF-1.4 of somebody else"
    assert len(list(out.iterdir())) == 5


def test_documents_in_the_folder_of_the_films_are_left_out(draw_film, bundle, tmp_path):
    Image.fromarray(draw_film(np.random.default_rng(1))).save(tmp_path / "a.png")
    folder = Path(tmp_path)
    files = (folder / "a.png",)
    assert predict(*files, "--model", bundle, "--pdf", folder, "--threshold", "0.5").exit_code == 0
    again = predict(folder, "--no-recursive", "--model", bundle, "--pdf", folder, "--threshold", "0.5")
    assert again.exit_code == 0
    assert "a.pdf" not in again.stdout


def test_without_the_library_the_extra_is_named(monkeypatch, bundle, draw_film, tmp_path):
    from pneumoscan import errors

    Image.fromarray(draw_film(np.random.default_rng(1))).save(tmp_path / "a.png")
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "reportlab" else object())
    ended = predict(tmp_path / "a.png", "--model", bundle, "--pdf", tmp_path / "out")
    assert isinstance(ended.exception, errors.MissingDependencyError) or ended.exit_code == 6
    assert "pdf" in str(ended.exception) + ended.stderr
