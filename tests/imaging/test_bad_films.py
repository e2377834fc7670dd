"""What is no film gets one typed refusal, soon and in bounded memory; nothing else is raised and nothing is read."""

import os
import stat
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from pneumoscan import errors
from pneumoscan.imaging import film as reader
from pneumoscan.imaging import read


def outcome(source, **options):
    """The class of the error that reading gives, or None."""
    try:
        read(source, **options)
    except errors.FilmError as refusal:
        problem = refusal
    else:
        return None
    assert problem.message.endswith(".")
    assert problem.remedy
    return type(problem)


def test_every_bad_film_gets_its_one_refusal_within_two_seconds(bad_films):
    assert len(bad_films) >= 40
    wrong, slow = {}, {}
    for name, (data, expected) in bad_films.items():
        began = time.thread_time()
        given = outcome(data)
        if given is not expected:
            wrong[name] = (expected, given)
        if time.thread_time() - began > 2:
            slow[name] = time.thread_time() - began
    assert not wrong
    assert not slow


def test_a_lying_name_changes_nothing(bad_films, tmp_path):
    for name in ("eps", "gif", "svg", "png: cut in its pixels", "jpeg: cut in the middle"):
        data, expected = bad_films[name]
        for ending in (".jpg", ".png"):
            path = tmp_path / f"film{ending}"
            path.write_bytes(data)
            assert outcome(path) is expected, name


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_film_cut_at_any_length_is_truncated(film_bytes, kind):
    good = film_bytes.encoded(kind)
    lengths = [*range(1, 700, 3), *range(700, len(good), 97), *range(len(good) - 30, len(good))]
    wrong = {n: given for n in lengths if (given := outcome(good[:n])) is not errors.FilmTruncatedError}
    assert not wrong
    assert outcome(good) is None


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 4}, {"optimize": True}])
def test_other_codings_of_jpeg_are_read_whole_and_refused_cut(film_bytes, options):
    good = film_bytes.encoded("JPEG", **options)
    assert outcome(good) is None
    for part in (0.3, 0.6, 0.9):
        assert outcome(good[: int(part * len(good))]) is errors.FilmTruncatedError


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_random_damage_gives_a_film_or_a_typed_refusal(film_bytes, kind):
    good = film_bytes.encoded(kind)
    rng = np.random.default_rng(11)
    for _ in range(400):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[rng.integers(2, len(good), rng.integers(1, 12))] = rng.integers(0, 256)
        outcome(damaged.tobytes())  # Anything but a FilmError, warnings included, fails the test.


def test_every_bit_of_a_png_is_under_a_checksum(film_bytes):
    good = film_bytes.encoded("PNG")
    for at in range(8, len(good), 101):
        assert outcome(film_bytes.patched(good, at, bytes([good[at] ^ 16]))) is not None, at


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 0), np.uint8),
        np.zeros(100, np.uint8),
        np.zeros((100, 100, 2), np.uint8),
        np.zeros((1, 3, 100, 100), np.uint8),
        np.array(5, np.uint8),
        np.full((100, 100), np.nan),
        np.full((100, 100), np.inf, np.float32),
        np.linspace(-0.1, 1, 10_000).reshape(100, 100),
        np.linspace(0, 255, 10_000).reshape(100, 100),
        np.arange(10_000).reshape(100, 100),
        np.arange(10_000).reshape(100, 100).astype(object),
        np.arange(10_000).reshape(100, 100).astype(np.complex128),
        np.arange(10_000).reshape(100, 100).astype(str),
        np.arange(10_000).reshape(100, 100).astype("datetime64[s]"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_no_film_has_are_refused(array):
    assert outcome(array) is errors.FilmValueError


@pytest.mark.parametrize("thing", [None, 3, ["film.png"], {"path": "film.png"}, object()])
def test_things_that_are_no_source_are_refused(thing):
    assert outcome(thing) is errors.FilmValueError


def test_small_and_even_arrays_are_refused(draw_film):
    assert outcome(draw_film(size=(31, 90))) is errors.FilmTooSmallError
    assert outcome(draw_film(size=(90, 40)), min_side=41) is errors.FilmTooSmallError
    assert outcome(np.ones((90, 90), np.float32)) is errors.FilmUniformError
    assert outcome(np.full((90, 90), 300, np.uint16)) is errors.FilmUniformError
    assert outcome(np.broadcast_to(np.uint8(1), (9000, 9000))) is errors.FilmTooLargeError


def test_one_different_pixel_is_enough_not_to_be_uniform():
    film = np.full((90, 90), 7, np.uint8)
    film[50, 51] = 8
    assert outcome(film) is None


def test_pillow_images_with_values_that_no_film_has_are_refused():
    ramp = np.linspace(-5, 5, 10_000).reshape(100, 100)
    assert outcome(Image.fromarray(ramp.astype(np.float32))) is errors.FilmValueError
    assert outcome(Image.fromarray((ramp * 1e6).astype(np.int32))) is errors.FilmValueError
    closed = Image.new("L", (100, 100))
    closed.close()
    assert outcome(closed) is errors.FilmDamagedError


def test_what_the_file_system_refuses_is_typed(film_bytes, tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "file.png").write_bytes(film_bytes.encoded("PNG"))
    expected = {
        "missing.png": errors.FilmNotFoundError,
        "dangling.png": errors.FilmNotFoundError,
        "line\nbreak.png": errors.FilmNotFoundError,
        "folder.png": errors.FilmUnreadableError,
        "pipe.png": errors.FilmUnreadableError,
        "loop.png": errors.FilmUnreadableError,
        "file.png/inside.png": errors.FilmUnreadableError,
        "nul\0.png": errors.FilmUnreadableError,
        "x" * 300: errors.FilmUnreadableError,
    }
    assert {name: outcome(tmp_path / name) for name in expected} == expected
    assert outcome("/dev/zero") is errors.FilmUnreadableError
    assert outcome("") is errors.FilmUnreadableError


def test_a_film_without_permission_is_refused(film_bytes, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "film.png"
    path.write_bytes(film_bytes.encoded("PNG"))
    path.chmod(0)
    assert outcome(path) is errors.FilmUnreadableError


def test_a_file_that_fails_while_it_is_read_is_refused(film_bytes, tmp_path, monkeypatch):
    path = tmp_path / "film.png"
    path.write_bytes(film_bytes.encoded("PNG"))

    def fail(*_args, **_options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reader.os, "read", fail)
    with pytest.raises(errors.FilmUnreadableError, match="Input/output error"):
        read(path)


def test_a_huge_file_is_refused_by_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 1 << 20)
    path = tmp_path / "film.png"
    with path.open("wb") as file:
        file.truncate((1 << 20) + 1)
    assert outcome(path) is errors.FilmTooLargeError


def test_refusals_leave_no_file_open(tmp_path):
    (tmp_path / "folder.png").mkdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        outcome(tmp_path / "folder.png")
        outcome(tmp_path / "missing.png")
        outcome("/dev/zero")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_message_is_one_printable_line_whatever_the_name(tmp_path):
    name = "a\nb\x1b[31m\udcff" + "\u202e" + "ü.png"
    with pytest.raises(errors.FilmNotFoundError) as caught:
        read(tmp_path / name)
    assert caught.value.message.isprintable()
    assert "a\\nb\\x1b[31m\\udcff\\u202eü.png" in caught.value.message
    with pytest.raises(errors.FilmEmptyError) as caught:
        read(b"", name="two\nlines")
    assert caught.value.message.isprintable()


def test_a_film_with_a_strange_name_is_read_and_keeps_it(film_bytes, tmp_path):
    path = tmp_path / "a\nb ü.png"
    path.write_bytes(film_bytes.encoded("PNG"))
    assert stat.S_ISREG(path.stat().st_mode)
    assert read(path).source == str(path)


MEMORY = """
import resource, sys
from pneumoscan.errors import FilmError
from pneumoscan.imaging import read
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(data)
except FilmError as problem:
    print(type(problem).__name__, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        ("bomb: a small png claims 12000×12000", 8),
        ("bomb: more pixels than the header says", 8),
        ("jpeg: claims 65535×65535", 8),
        # What is allowed to be decoded: 64 megapixels of 4 bytes, a grey copy of 1, and its bytes.
        ("bomb: 8000×8000 black colour pixels", 500),
    ],
)
def test_bombs_are_refused_in_bounded_memory(bad_films, tmp_path, name, mebibytes):
    path = tmp_path / "bomb"
    path.write_bytes(bad_films[name][0])
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True, timeout=60
    )
    error, used = run.stdout.split()
    assert error == bad_films[name][1].__name__
    assert int(used) < mebibytes


def test_text_bombs_are_left_behind_unread(film_bytes):
    image = film_bytes.picture()
    swollen = b"Comment\0\0" + film_bytes.zlib.compress(bytes(200_000_000), 9)
    data = film_bytes.png(
        film_bytes.header(100, 120),
        film_bytes.chunk(b"zTXt", swollen),
        film_bytes.chunk(b"iCCP", swollen),
        film_bytes.pixels_chunk(image),
        film_bytes.chunk(b"IEND"),
    )
    began = time.thread_time()
    assert np.array_equal(read(data).pixels, image)
    assert time.thread_time() - began < 0.5


def test_threads_read_the_same_and_leave_the_warning_filters_alone(film_bytes, bad_films):
    good = {kind: film_bytes.encoded(kind) for kind in ("JPEG", "PNG")}
    expected = {kind: read(data).pixels for kind, data in good.items()}
    quick = [bad for name, bad in bad_films.items() if not name.startswith("bomb")]
    filters = list(warnings.filters)
    failures = []

    def work():
        for data, error in quick:
            if outcome(data) is not error:
                failures.append(error)
            failures.extend(
                kind for kind in good if not np.array_equal(read(good[kind]).pixels, expected[kind])
            )

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warnings.filters == filters


def test_limits_of_the_host_program_do_not_matter(film_bytes, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert outcome(film_bytes.encoded("JPEG")) is None
    assert outcome(film_bytes.encoded("PNG")) is None


def test_a_progressive_film_has_not_endless_scans(film_bytes):
    good = film_bytes.encoded("JPEG", progressive=True)
    last = good.rindex(b"\xff\xda")
    scans = good.count(b"\xff\xda")
    assert 1 < scans < 20
    assert outcome(good) is None
    # The first scan again and again: what a decoder would do, were it let.
    first, second = good.index(b"\xff\xda"), good.index(b"\xff\xda", good.index(b"\xff\xda") + 2)
    many = good[:last] + good[first:second] * 100 + good[last:]
    with pytest.raises(errors.FilmDamagedError, match="more than 100 scans"):
        read(many)
