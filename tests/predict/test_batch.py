"""Batches: rows in order, refused films among good ones, constant memory, and files that can be continued."""

import csv
import json
import os
import threading
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import PneumoniaClassifier, model_name
from pneumoscan.errors import LockedError, UsageError
from pneumoscan.files import locked
from pneumoscan.imaging import Preprocessing
from pneumoscan.predict.batch import predict_many
from pneumoscan.predict.sources import expand, listed
from pneumoscan.rows import COLUMNS, PredictionRow, header, open_rows

NAMES = [
    "a.png",
    "=b.png",
    "c, d.png",
    'e "f".png',
    "g\nh.png",
    "i\r.png",
    "-j.png",
    "ünï.png",
    os.fsdecode(b"\xff.png"),
]


@pytest.fixture
def bundle(bundle_folder):
    return load_bundle(bundle_folder)


@pytest.fixture
def films(tmp_path, draw_film):
    """Films with names that are hard to write down, relative to the working folder."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(draw_film(np.random.default_rng(number), (40, 50))).save(folder / name)
    return folder


@pytest.fixture
def bad_films(films):
    whole = (films / "a.png").read_bytes()
    (films / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (films / "text.jpeg").write_text("no film")
    (films / "empty.jpeg").write_bytes(b"")
    (films / "folder.jpeg").mkdir()
    Image.fromarray(np.full((50, 50), 7, np.uint8)).save(films / "uniform.png")
    codes = {
        "truncated.png": "film.truncated",
        "text.jpeg": "film.format",
        "empty.jpeg": "film.empty",
        "folder.jpeg": "film.unreadable",
        "uniform.png": "film.uniform",
        "missing.jpeg": "film.not_found",
    }
    return {str(films / name): code for name, code in codes.items()}


@pytest.mark.parametrize("workers", [1, 4])
def test_rows_stand_in_the_order_of_the_inputs(bundle, films, bad_films, workers):
    good = [str(films / name) for name in NAMES]
    sources = [path for pair in zip(good, [*bad_films, *good], strict=False) for path in pair] * 5
    rows = list(predict_many(bundle, sources, workers=workers))
    assert [row.path for row in rows] == sources
    for row in rows:
        refused = row.path in bad_films
        assert row.status == ("refused" if refused else "ok")
        assert row.error_code == bad_films.get(row.path, "")
        assert bool(row.error) == refused == (row.probability is None)
        assert (row.threshold, row.model) == (0.5, model_name(bundle))


def test_workers_change_no_digit(bundle, films):
    sources = [films / name for name in NAMES] * 4
    assert list(predict_many(bundle, sources, workers=1)) == list(predict_many(bundle, sources, workers=4))


def test_rows_agree_with_the_classifier(bundle, films):
    sources = [films / name for name in NAMES]
    classifier = PneumoniaClassifier(bundle)
    rows = list(predict_many(bundle, sources, workers=2))
    assert [row.probability for row in rows] == classifier.predict_proba(sources)[:, 1].tolist()
    assert [row.label for row in rows] == classifier.predict(sources).tolist()


def test_the_threshold_labels(bundle, films):
    path = films / "a.png"
    (row,) = predict_many(bundle, [path], workers=1)
    labels = [
        next(iter(predict_many(bundle, [path], threshold=cut))).label for cut in (0.0, row.probability, 1.0)
    ]
    assert labels == ["PNEUMONIA", "PNEUMONIA", "NORMAL"]


def test_sources_of_every_kind(bundle, films):
    path = films / "a.png"
    sources = [path, path.read_bytes(), Image.open(path), np.asarray(Image.open(path))]
    rows = list(predict_many(bundle, sources, workers=2))
    assert [row.path for row in rows] == [str(path), "<bytes>", "<image>", "<array>"]
    assert len({row.probability for row in rows}) == 1


def test_sources_are_taken_as_they_are_needed(bundle, draw_film):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield draw_film()

    rows = predict_many(bundle, endless(), workers=2)
    for _ in range(5):
        next(rows)
    rows.close()
    assert len(taken) <= 5 + 4 * 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("film")]


@pytest.mark.parametrize("options", [{"workers": 0}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_illegal_options(bundle, options):
    with pytest.raises(UsageError):
        predict_many(bundle, [], **options)


@pytest.mark.parametrize(
    ("film", "warnings"),
    [
        (np.tile(np.arange(0, 250, 5, dtype=np.uint8), (50, 1)), ("smaller_than_input",)),
        (np.tile(np.arange(0, 250, 3, dtype=np.uint8), (400, 1)), ("unusual_shape",)),
        (np.tile(np.arange(100, 110, dtype=np.uint8).repeat(8), (80, 1)), ("low_contrast",)),
        (np.tile(np.arange(0, 250, 3, dtype=np.uint8), (80, 1)), ()),
    ],
)
def test_warnings(make_bundle, make_onnx, film, warnings):
    folder = make_bundle(onnx=make_onnx(size=64), preprocessing=Preprocessing(size=64))
    (row,) = predict_many(load_bundle(folder, self_check=False), [film], workers=1)
    assert (row.status, row.warnings) == ("ok", warnings)


def test_low_contrast_is_a_standard_deviation_below_eight_grey_levels(bundle):
    generator = np.random.default_rng(0)
    for spread in (2, 26, 27, 28, 29, 30, 255):
        film = generator.integers(0, spread, (480, 480)).astype(np.uint8)
        (row,) = predict_many(bundle, [film], workers=1)
        assert ("low_contrast" in row.warnings) == (film[::16, ::16].std() < 8)


def test_csv_reads_back_exactly(bundle, films, bad_films):
    rows = list(predict_many(bundle, [*(films / name for name in NAMES), *bad_films], workers=1))
    data = header("csv") + b"".join(row.to_line("csv") for row in rows)
    table = list(csv.DictReader(StringIO(data.decode("utf-8", "surrogateescape"), newline="")))
    assert tuple(table[0]) == COLUMNS
    for line, row in zip(table, rows, strict=True):
        assert line["path"] == row.path
        assert line["error"] == row.error
        assert (float(line["probability"]) if line["probability"] else None) == row.probability
        if row.probability is not None:
            assert len(line["probability"].split(".")[1]) >= 6


def test_jsonl_reads_back_exactly(bundle, films, bad_films):
    for row in predict_many(bundle, [*(films / name for name in NAMES), *bad_films], workers=1):
        line = row.to_line("jsonl")
        assert line.count(b"\n") == 1
        assert tuple(json.loads(line)) == COLUMNS
        assert json.loads(line) == row.to_json()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("=1+1.png", b'"=1+1.png"'),
        ("+a", b'"+a"'),
        ("-a", b'"-a"'),
        ("@a", b'"@a"'),
        ("a,b", b'"a,b"'),
        ('a"b', b'"a""b"'),
        ("a\nb", b'"a\nb"'),
        ("a=b", b"a=b"),
    ],
)
def test_names_stay_as_they_are(path, field):
    row = PredictionRow(path, "ok", 1e-9, "NORMAL", 0.5, ("low_contrast", "unusual_shape"), "", "", "m@0")
    expected = field + b",ok,0.000000001,NORMAL,0.50,low_contrast;unusual_shape,,,m@0\n"
    assert row.to_line("csv") == expected


def _write(path, bundle, sources, file_format, *, resume=False):
    options = {"model": model_name(bundle), "threshold": 0.5, "resume": resume}
    with open_rows(path, file_format, **options) as rows:
        for row in predict_many(bundle, rows.left(sources), workers=1):
            rows.add(row)
    return rows.counts


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_resume_at_any_byte_gives_the_same_file(bundle, films, bad_films, tmp_path, file_format):
    sources = [*(str(films / name) for name in NAMES), *bad_films, str(films / "a.png")]
    out = tmp_path / "rows"
    counts = _write(out, bundle, sources, file_format)
    assert counts == {"ok": len(NAMES) + 1, "refused": len(bad_films)}
    whole = out.read_bytes()
    for end in {*range(0, 90, 3), *range(90, len(whole), 31), len(whole) - 1, len(whole)}:
        out.write_bytes(whole[:end])
        assert _write(out, bundle, sources, file_format, resume=True) == counts
        assert out.read_bytes() == whole


def test_resume_reads_no_film_twice(bundle, films, tmp_path):
    sources = [str(films / name) for name in NAMES]
    out = tmp_path / "rows.csv"
    _write(out, bundle, sources, "csv")
    whole = out.read_bytes()
    (films / "a.png").unlink()
    _write(out, bundle, sources, "csv", resume=True)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_format": "jsonl"}, "JSONL"),
        ({"model": "other@123"}, "of the model tiny"),
        ({"threshold": 0.4}, "at threshold 0.5"),
    ],
)
def test_resume_of_something_else_is_refused(bundle, films, tmp_path, change, message):
    out = tmp_path / "rows.csv"
    _write(out, bundle, [str(films / "a.png")], "csv")
    whole = out.read_bytes()
    options = {"file_format": "csv", "model": model_name(bundle), "threshold": 0.5, "resume": True} | change
    with pytest.raises(UsageError, match=message), open_rows(out, **options):
        pass
    assert out.read_bytes() == whole


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
@pytest.mark.parametrize("content", [b"name,age\nx,1\n", b"one line", b"{}\n", b"\x89PNG\r\n\x1a\n\x00"])
def test_other_files_are_never_overwritten(bundle, tmp_path, resume, file_format, content):
    out = tmp_path / "precious"
    out.write_bytes(content)
    with pytest.raises(UsageError), open_rows(out, file_format, model="m", threshold=0.5, resume=resume):
        pass
    assert out.read_bytes() == content


def test_two_writers_of_one_file(tmp_path):
    out = tmp_path / "rows.csv"
    with (
        locked(out),
        pytest.raises(LockedError),
        open_rows(out, "csv", model="m", threshold=0.5, resume=False),
    ):
        pass


def test_folders_are_walked_in_order(tmp_path, monkeypatch):
    for name in ("b/2.png", "b/1.png", "a/deep/x.png", ".hidden/y.png", "c.txt", ".z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    found = [Path(path).as_posix() for path in expand(["."])]
    assert found == ["a/deep/x.png", "b/1.png", "b/2.png", "c.txt", "d.png"]
    assert list(expand(["."], recursive=False)) == ["./c.txt", "./d.png"]
    assert list(expand(["b/2.png", "b"])) == ["b/2.png", "b/1.png", "b/2.png"]


def test_linked_folders_are_read_once(tmp_path, monkeypatch):
    for name in ("films/real/a.png", "films/.store/b.png", "ward/c.png", "ward/deep/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    links = {
        "films/hospital": "ward", "films/again": "ward", "films/same": "films/real", "films/kept": "films/.store",
        "films/up": ".", "films/loop": "films", "ward/deep/back": "films", "ward/deep/self": "ward",
    }  # fmt: skip
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    notes = []
    found = [Path(path).as_posix() for path in expand(["films"], note=notes.append)]
    assert found == ["films/again/c.png", "films/again/deep/d.png", "films/kept/b.png", "films/real/a.png"]
    not_followed = {"again/deep/back", "again/deep/self", "hospital", "loop", "same", "up"}
    assert {note.split()[0] for note in notes} == {str(Path("films", name)) for name in not_followed}
    # A link may be named itself.
    assert [Path(path).as_posix() for path in expand(["films/same"])] == ["films/same/a.png"]


def test_patterns(tmp_path, monkeypatch):
    for name in ("b/2.png", "b/1.png", "a[1].png", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert list(expand(["b/*.png"])) == ["b/1.png", "b/2.png"]
    assert list(expand(["**/?.png"])) == ["a/3.png", "b/1.png", "b/2.png"]
    assert list(expand(["a[1].png"])) == ["a[1].png"]
    assert list(expand(["[ab]"])) == ["a/3.png", "b/1.png", "b/2.png"]
    assert list(expand(["*.gif", "gone.png"])) == ["*.gif", "gone.png"]


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a\nb c\r\n\n d\n", ["a", "b c", " d"]),
        (b"a\nb\0c\0", ["a\nb", "c"]),
        (b"", []),
        (b"last", ["last"]),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
        (b"\xef\xbb\xbfa.png\r\n\r\n\xff.png", ["a.png", os.fsdecode(b"\xff.png")]),
        *(
            ("ä/肺.png\r\nb c.png".encode(name), ["ä/肺.png", "b c.png"])
            for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
        ),
        ("\ufeff".encode("utf-16-be") + "a\nb\n".encode("utf-16-be"), ["a", "b"]),
        (
            "肺.png\n".encode("utf-16") * 1 + "b.png\n".encode("utf-16-le") * 40_000,
            ["肺.png", *["b.png"] * 40_000],
        ),
        (b"1\x002\x003\0", ["1", "2", "3"]),
    ],
)
def test_lists(data, paths):
    assert list(listed(BytesIO(data))) == paths
    assert list(expand(["x", "-"], stdin=BytesIO(data))) == ["x", *paths]


def test_backslashes_of_a_list_are_folders_where_no_file_has_them(tmp_path, monkeypatch):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    assert list(listed(BytesIO(b"f\\a.png\nf\\none.png\n"))) == [
        f"f{os.sep}a.png",
        "f\\none.png",
    ]
    if os.sep == "/":
        (tmp_path / "f\\a.png").touch()
        assert list(listed(BytesIO(b"f\\a.png"))) == ["f\\a.png"]
