"""The film cache: right, found again by content, and never taken for whole when it is not."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pneumoscan.files
from pneumoscan.data import cache, load_manifest, open_cache
from pneumoscan.errors import (
    ConfigError,
    DataDamagedError,
    DiskFullError,
    NothingUsableError,
    NotWritableError,
)
from pneumoscan.imaging.preprocessing import squash

SIZE = 64


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cache"


def _open(manifest, place, **options):
    return open_cache(manifest, size=SIZE, folder=place, **options)


def _pixel_file(place: Path) -> Path:
    (file,) = place.glob("*.u8")
    return file


def _is_built(manifest, place) -> bool:
    """Open the cache and tell whether anything had to be decoded for it."""
    calls = []
    _open(manifest, place, progress=lambda done, total: calls.append((done, total)))
    return bool(calls)


def test_rows_are_the_squashed_films(film_folder, place):
    manifest = load_manifest(film_folder)
    calls = []
    opened = _open(manifest, place, progress=lambda done, total: calls.append((done, total)))
    assert opened.images.shape == (len(manifest), SIZE, SIZE)
    assert opened.images.dtype == np.uint8
    assert not opened.images.flags.writeable
    assert opened.index.dtype == np.int64
    for row in (0, 7, len(manifest) - 1):
        np.testing.assert_array_equal(opened.images[row], squash(manifest.read(manifest.films[row]), SIZE))
    assert calls == [(i + 1, len(manifest)) for i in range(len(manifest))]
    assert opened.refused == ()
    assert set(opened.content_sha256) == {film.path for film in manifest.films}
    path = manifest.films[3].path
    assert opened.content_sha256[path] == pneumoscan.files.sha256_of(manifest.root / path)


def test_the_second_time_nothing_is_decoded(film_folder, place):
    manifest = load_manifest(film_folder)
    first = _open(manifest, place, workers=1)
    assert not _is_built(manifest, place)
    second = _open(manifest, place, workers=4)
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.data_sha256, first.content_sha256) == (second.data_sha256, second.content_sha256)
    assert sorted(path.suffix for path in place.iterdir()) == [".json", ".lock", ".u8"]


def test_a_moved_folder_finds_its_cache(film_folder, place):
    _open(load_manifest(film_folder), place)
    moved = load_manifest(film_folder.rename(film_folder.with_name("elsewhere")))
    assert not _is_built(moved, place)


def test_a_changed_film_is_seen_even_with_its_size_and_time_kept(film_folder, place):
    manifest = load_manifest(film_folder)
    before = _open(manifest, place)
    path, other = (manifest.root / manifest.films[i].path for i in (2, 3))
    was = path.stat()
    path.write_bytes(other.read_bytes()[: was.st_size].ljust(was.st_size, b"\0"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    after = _open(manifest, place)
    assert after.data_sha256 != before.data_sha256
    assert len(list(place.glob("*.u8"))) == 2


def test_another_size_is_another_cache(film_folder, place):
    manifest = load_manifest(film_folder)
    _open(manifest, place)
    assert open_cache(manifest, size=32, folder=place).images.shape[1:] == (32, 32)
    assert not _is_built(manifest, place)


def test_refused_films_are_rows_of_another_table(film_folder, place):
    folder = film_folder / "train" / "NORMAL"
    (folder / "AAA-empty.jpeg").write_bytes(b"")
    (folder / "AAA-text.jpeg").write_text("not a picture")
    (folder / "AAA-gone.jpeg").symlink_to(film_folder / "nowhere")
    manifest = load_manifest(film_folder)
    for _ in range(2):
        opened = _open(manifest, place)
        assert [(Path(film.path).name, film.code) for film in opened.refused] == [
            ("AAA-empty.jpeg", "film.empty"),
            ("AAA-gone.jpeg", "film.not_found"),
            ("AAA-text.jpeg", "film.format"),
        ]
        assert all(film.path in film.message for film in opened.refused)
        assert opened.index.tolist() == list(range(3, len(manifest)))
        np.testing.assert_array_equal(opened.images[0], squash(manifest.read(manifest.films[3]), SIZE))
        assert "train/NORMAL/AAA-gone.jpeg" not in opened.content_sha256


def test_nothing_readable(tmp_path, place):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "films/train" / name).mkdir(parents=True)
        (tmp_path / "films/train" / name / "a.jpeg").write_bytes(b"junk")
    manifest = load_manifest(tmp_path / "films")
    for _ in range(2):
        with pytest.raises(NothingUsableError, match="none of the 2 films"):
            _open(manifest, place)


def test_arrays_of_an_npz(tmp_path, place):
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_{part}": value
        for split in ("train", "test")
        for part, value in (
            ("images", rng.integers(0, 256, (5, 28, 28), dtype=np.uint8)),
            ("labels", np.arange(5) % 2),
        )
    }
    arrays["test_images"][2] = 0
    np.savez(tmp_path / "x.npz", **arrays)
    opened = _open(load_manifest(tmp_path / "x.npz"), place)
    assert opened.images.shape == (9, SIZE, SIZE)
    assert [(film.path, film.code) for film in opened.refused] == [("x.npz#test/2", "film.uniform")]


def test_names_that_are_no_utf8(film_folder, place):
    film = next((film_folder / "train" / "NORMAL").iterdir())
    film.rename(film.parent / "caf\udce9.jpeg")
    (film.parent / "bad\udce9.jpeg").write_bytes(b"")
    manifest = load_manifest(film_folder)
    assert _open(manifest, place).refused[0].path.endswith("bad\udce9.jpeg")
    assert not _is_built(manifest, place)


@pytest.mark.parametrize("what", ["flip", "cut", "grow", "gone", "empty"])
@pytest.mark.parametrize("suffix", [".u8", ".json"])
def test_damage_is_found_and_mended(film_folder, place, what, suffix):
    manifest = load_manifest(film_folder)
    whole = np.array(_open(manifest, place).images)
    file = _pixel_file(place).with_suffix(suffix)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    changed = {"flip": data, "cut": data[:-5], "grow": data + b"0", "empty": b""}
    file.unlink() if what == "gone" else file.write_bytes(changed[what])
    assert _is_built(manifest, place)
    np.testing.assert_array_equal(_open(manifest, place).images, whole)
    assert not _is_built(manifest, place)


@pytest.mark.parametrize(
    "body", ["[]", "null", '{"body": 3}', '{"body": {"index": [0], "refused": [[1]]}}', "[" * 9999]
)
def test_a_sidecar_of_another_kind_is_rebuilt(film_folder, place, body):
    manifest = load_manifest(film_folder)
    _open(manifest, place)
    _pixel_file(place).with_suffix(".json").write_text(body)
    assert _is_built(manifest, place)


def test_a_sidecar_whose_rows_lie_is_rebuilt(film_folder, place):
    manifest = load_manifest(film_folder)
    _open(manifest, place)
    sidecar = _pixel_file(place).with_suffix(".json")
    told = json.loads(sidecar.read_text())
    told["body"]["index"][:2] = [1, 0]
    sidecar.write_text(json.dumps(told))
    assert _is_built(manifest, place)


BUILD = """
import sys, time
from pathlib import Path
from pneumoscan.data import load_manifest, open_cache
slow = float(sys.argv[3])
def progress(done, total):
    print(done, flush=True)
    time.sleep(slow)
opened = open_cache(load_manifest(Path(sys.argv[1])), size=64, folder=Path(sys.argv[2]), progress=progress)
print("opened", opened.images.shape[0], int(opened.images.sum()), flush=True)
"""


def _start(films: Path, place: Path, slow: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(films), str(place), str(slow)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("after", [1, 20, 59, 60])
def test_killed_while_building(film_folder, place, after):
    with _start(film_folder, place, 0.002) as builder:
        for line in builder.stdout:
            if line.strip() == str(after):
                builder.send_signal(signal.SIGKILL)
                break
    manifest = load_manifest(film_folder)
    assert len(manifest) == 60
    if after < 60:
        assert list(place.glob(".*.tmp"))
        assert _is_built(manifest, place)
    opened = _open(manifest, place)
    np.testing.assert_array_equal(opened.images[59], squash(manifest.read(manifest.films[59]), SIZE))
    assert not list(place.glob(".*.tmp"))


def test_leftovers_of_another_key_go_unless_their_builder_lives(film_folder, place):
    manifest = load_manifest(film_folder)
    place.mkdir()
    dead, alive = (place / f".{digit * 40}.u8.abc.tmp" for digit in "12")
    dead.write_bytes(b"x")
    alive.write_bytes(b"x")
    with pneumoscan.files.locked(place / f"{'2' * 40}.lock"):
        _open(manifest, place)
    assert (dead.exists(), alive.exists()) == (False, True)


def test_two_processes_at_once_build_one_cache(film_folder, place):
    with _start(film_folder, place, 0.01) as one:
        assert one.stdout.readline()
        with _start(film_folder, place, 0) as two:
            second, first = two.communicate()[0].split("\n"), one.communicate()[0].split("\n")
    assert first[-2] == second[-2] != ""
    assert first[-2].startswith("opened 60")
    # The second waited and decoded nothing.
    assert len(second) == 2


def test_disk_full_while_writing(film_folder, place, monkeypatch):
    manifest = load_manifest(film_folder)
    real = os.fdopen

    def fdopen(descriptor, mode):
        file = real(descriptor, mode)
        written = []

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *exception):
                file.close()

            def write(self, data):
                written.append(len(data))
                if sum(written) > 100_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return file.write(data)

        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(pneumoscan.files.os, "fdopen", fdopen)
        with pytest.raises(DiskFullError):
            _open(manifest, place)
    assert [path.suffix for path in place.iterdir()] == [".lock"]
    assert _open(manifest, place).images.shape[0] == 60


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def test_disk_full_for_the_kernel(film_folder, place):
    command = [sys.executable, "-c", LIMITED + BUILD, str(film_folder), str(place), "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "DiskFullError" in ended.stderr
    assert [path.suffix for path in place.iterdir()] == [".lock"]


def test_too_small_a_disk_is_told_before_the_work(film_folder, place, monkeypatch):
    usage = cache.shutil.disk_usage(film_folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=10))
    calls = []
    with pytest.raises(DiskFullError, match="PNEUMOSCAN_CACHE"):
        _open(load_manifest(film_folder), place, progress=lambda *now: calls.append(now))
    assert calls == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_cannot_be_written_names_the_variable(film_folder, tmp_path, monkeypatch, below):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "file" / below))
    with pytest.raises(NotWritableError, match="PNEUMOSCAN_CACHE"):
        open_cache(load_manifest(film_folder), size=SIZE)


def test_where_caches_lie(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("PNEUMOSCAN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder() == Path("/home/x/.cache/pneumoscan")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_folder() == Path("/home/x/.cache/pneumoscan")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/x")
    assert cache.cache_folder() == Path("/var/cache/x/pneumoscan")
    monkeypatch.setenv("PNEUMOSCAN_CACHE", "/fast")
    assert cache.cache_folder() == Path("/fast")


def test_a_film_that_changes_while_it_is_read(film_folder, place, monkeypatch):
    real = cache._hash_all

    def hash_all(manifest, workers):
        hashes = real(manifest, workers)
        (manifest.root / manifest.films[5].path).write_bytes(b"another")
        return hashes

    monkeypatch.setattr(cache, "_hash_all", hash_all)
    with pytest.raises(DataDamagedError, match="changed while it was read"):
        _open(load_manifest(film_folder), place)
    assert [path.suffix for path in place.iterdir()] == [".lock"]


@pytest.mark.parametrize("options", [{"size": 8}, {"size": 4096}, {"size": 64, "workers": 0}])
def test_illegal_options(film_folder, place, options):
    with pytest.raises(ConfigError):
        open_cache(load_manifest(film_folder), folder=place, **options)


def test_the_data_hash_knows_labels(film_folder, place):
    manifest = load_manifest(film_folder)
    one = _open(manifest, place).data_sha256
    films = film_folder / "train"
    film = next((films / "NORMAL").iterdir())
    film.rename(films / "PNEUMONIA" / film.name)
    assert _open(load_manifest(film_folder), place).data_sha256 != one


@pytest.mark.real_films
@pytest.mark.slow
def test_the_real_films_are_fast(real_films, place):
    manifest = load_manifest(real_films)
    start = time.process_time()
    first = open_cache(manifest, size=200, folder=place)
    built = time.process_time()
    second = open_cache(manifest, size=200, folder=place)
    opened = time.process_time()
    assert len(first.refused) == 0
    np.testing.assert_array_equal(first.images[::500], second.images[::500])
    assert built - start < 30
    assert opened - built < 3
