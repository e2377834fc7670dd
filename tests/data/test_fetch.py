"""Fetching: archives of good will come out whole, all others not at all."""

import signal
import stat
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from pneumoscan.data import fetch as fetch_module
from pneumoscan.data import fetch as fetching
from pneumoscan.data import load_manifest
from pneumoscan.data.fetch import fetch, plan, unpack
from pneumoscan.errors import (
    ArchiveError,
    DataDamagedError,
    DiskFullError,
    LayoutError,
    LockedError,
    MissingDependencyError,
    NoNetworkError,
    UsageError,
)
from pneumoscan.files import locked

KAGGLE = fetch_module.KNOWN_COUNTS["Kaggle"]

COUNTS = {
    "train/NORMAL": 3, "train/PNEUMONIA": 5, "val/NORMAL": 1, "val/PNEUMONIA": 1, "test/NORMAL": 2, "test/PNEUMONIA": 2,
}  # fmt: skip


def _zip(path: Path, *, nested: bool = True, extra=(), compression=zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive as Kaggle's is: the set, a second copy in it, and what macOS leaves."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for prefix in (
            ("chest_xray", "chest_xray/chest_xray", "chest_xray/__MACOSX") if nested else ("chest_xray",)
        ):
            for folder, count in COUNTS.items():
                file.writestr(f"{prefix}/{folder}/", "")
                file.writestr(f"{prefix}/{folder}/.DS_Store", "x")
                for number in range(count):
                    file.writestr(f"{prefix}/{folder}/IM-{number:04}-0001.jpeg", f"{folder} {number}" * 9)
        for info, data in extra:
            file.writestr(info, data)
    return path


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(fetch_module.KNOWN_COUNTS, "Kaggle", COUNTS)


def _nothing_left(tmp_path: Path) -> bool:
    return {path.name for path in tmp_path.iterdir()} <= {"set.zip"}


def test_the_set_comes_out_once(tmp_path):
    calls = []
    got = fetch(
        tmp_path / "out", zip_path=_zip(tmp_path / "set.zip"), progress=lambda *now: calls.append(now)
    )
    assert got.counts == COUNTS
    assert got.edition == "Kaggle"
    assert calls == [(i + 1, 14) for i in range(14)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "set.zip"]
    manifest = load_manifest(tmp_path / "out")
    assert (len(manifest), manifest.notes) == (14, ())
    film = tmp_path / "out/train/PNEUMONIA/IM-0004-0001.jpeg"
    assert film.read_text() == "train/PNEUMONIA 4" * 9
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 14


def test_an_empty_target_is_used_and_another_refused(tmp_path):
    source = _zip(tmp_path / "set.zip")
    (tmp_path / "out").mkdir()
    unpack(source, tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        unpack(source, tmp_path / "out")
    for place in (source, source / "below"):
        with pytest.raises(UsageError, match="is a file"):
            unpack(source, place)


def test_other_numbers_are_refused_unless_wanted(tmp_path, monkeypatch):
    source = _zip(tmp_path / "set.zip")
    monkeypatch.setitem(fetch_module.KNOWN_COUNTS, "Kaggle", COUNTS | {"test/NORMAL": 234})
    with pytest.raises(DataDamagedError, match="test/NORMAL: 2 instead of 234"):
        unpack(source, tmp_path / "out")
    assert _nothing_left(tmp_path)
    got = unpack(source, tmp_path / "out", verify=False)
    assert (got.edition, got.counts) == ("", COUNTS)


def test_the_known_editions():
    mendeley = fetch_module.KNOWN_COUNTS["Mendeley"]
    assert (KAGGLE["train/NORMAL"] + KAGGLE["train/PNEUMONIA"], sum(KAGGLE.values())) == (5216, 5856)
    assert (mendeley["train/NORMAL"] + mendeley["train/PNEUMONIA"], sum(mendeley.values())) == (5232, 5856)


@pytest.mark.parametrize("before", ["./", "././", ".//"])
def test_names_that_begin_with_a_dot(tmp_path, before):
    plain = _zip(tmp_path / "plain.zip", nested=False)
    dotted = tmp_path / "set.zip"
    with zipfile.ZipFile(plain) as file, zipfile.ZipFile(dotted, "w") as other:
        other.writestr("./", "")
        for name in file.namelist():
            other.writestr(f"{before}{name}", file.read(name))
    found = [(entry.folder, entry.name) for entry in plan(dotted)]
    assert found == [(entry.folder, entry.name) for entry in plan(plain)]
    with zipfile.ZipFile(dotted, "a") as other:
        other.writestr("chest_xray/train/NORMAL/IM-0000-0001.jpeg", "again")
    with pytest.raises(ArchiveError, match="2 times"):
        plan(dotted)


def _info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (_info("/etc/cron.d/x"), "absolute"),
        (_info("../../x.jpeg"), r"'\.\.'"),
        (_info("chest_xray/train/NORMAL/../../../../x.jpeg"), r"'\.\.'"),
        (_info("C:/x.jpeg"), "drive"),
        (_info("C:x.jpeg"), "drive"),
        (_info("chest_xray\\..\\x.jpeg"), "backslash"),
        (_info("chest_xray/train/NORMAL/a\nb.jpeg"), "control"),
        (_info("x" * 2000), "overlong"),
        (_info("chest_xray/train/NORMAL/link.jpeg", stat.S_IFLNK | 0o777), "link or a special"),
        (_info("chest_xray/train/NORMAL/pipe.jpeg", stat.S_IFIFO | 0o644), "link or a special"),
        (_info("chest_xray/train/NORMAL/disk.jpeg", stat.S_IFBLK | 0o644), "link or a special"),
        (_info("chest_xray/__MACOSX/link", stat.S_IFLNK | 0o777), "link or a special"),
    ],
)
def test_a_harmful_entry_refuses_the_archive(tmp_path, info, words):
    source = _zip(tmp_path / "set.zip", extra=[(info, "/etc/passwd")])
    with pytest.raises(ArchiveError, match=words):
        unpack(source, tmp_path / "out", verify=False)
    assert _nothing_left(tmp_path)


def test_a_nul_in_a_name(tmp_path):
    source = _zip(tmp_path / "set.zip", extra=[(_info("chest_xray/train/NORMAL/aXb.jpeg"), "x")])
    source.write_bytes(source.read_bytes().replace(b"/aXb.jpeg", b"/a\0b.jpeg"))
    with pytest.raises(ArchiveError, match="control"):
        unpack(source, tmp_path / "out", verify=False)


def _patched(
    source: Path, name: str, *, local: dict[int, bytes] | None = None, central: dict[int, bytes]
) -> None:
    """Overwrite fields of one entry's headers; offsets as in APPNOTE 4.3.7 and 4.3.12."""
    data = bytearray(source.read_bytes())
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\1\2"
    for offset, value in central.items():
        data[at + offset : at + offset + len(value)] = value
    at = data.index(name.encode()) - 30
    assert data[at : at + 4] == b"PK\3\4"
    for offset, value in (local or {}).items():
        data[at + offset : at + offset + len(value)] = value
    source.write_bytes(data)


FILM = "chest_xray/test/PNEUMONIA/IM-0001-0001.jpeg"


def test_encrypted_entries(tmp_path):
    source = _zip(tmp_path / "set.zip", nested=False)
    _patched(source, FILM, local={6: b"\1\0"}, central={8: b"\1\0"})
    with pytest.raises(ArchiveError, match="encrypted"):
        unpack(source, tmp_path / "out")
    assert _nothing_left(tmp_path)


def test_unusual_compression(tmp_path):
    with pytest.raises(ArchiveError, match="unusual"):
        unpack(_zip(tmp_path / "set.zip", compression=zipfile.ZIP_LZMA), tmp_path / "out")


def test_the_same_name_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        source = _zip(tmp_path / "set.zip", nested=False, extra=[(_info(FILM), "again")])
    with pytest.raises(ArchiveError, match="2 times"):
        unpack(source, tmp_path / "out", verify=False)


def test_overlapping_entries(tmp_path):
    source = _zip(tmp_path / "set.zip", nested=False, compression=zipfile.ZIP_STORED)
    other = FILM.replace("IM-0001", "IM-0000")
    with zipfile.ZipFile(source) as file:
        at, first = (file.getinfo(name).header_offset for name in (FILM, other))
    assert at > first
    _patched(source, FILM, central={42: struct.pack("<I", first)})
    with pytest.raises(ArchiveError, match="overlaps"):
        unpack(source, tmp_path / "out")


def test_an_entry_that_swallows_the_next(tmp_path):
    source = _zip(tmp_path / "set.zip", nested=False, compression=zipfile.ZIP_STORED)
    name = FILM.replace("IM-0001", "IM-0000")
    size = struct.pack("<I", 300)
    _patched(source, name, local={18: size, 22: size}, central={20: size, 24: size})
    with pytest.raises(ArchiveError, match="overlaps"):
        unpack(source, tmp_path / "out")


def test_an_entry_that_runs_into_the_directory(tmp_path):
    source = _zip(tmp_path / "set.zip", nested=False, compression=zipfile.ZIP_STORED)
    size = struct.pack("<I", 300)
    _patched(source, FILM, local={18: size, 22: size}, central={20: size, 24: size})
    with pytest.raises(ArchiveError, match="directory"):
        unpack(source, tmp_path / "out")


def test_a_bomb_that_tells(tmp_path):
    source = _zip(tmp_path / "set.zip", extra=[(_info("chest_xray/train/NORMAL/b.jpeg"), bytes(3_000_000))])
    with pytest.raises(ArchiveError, match="compression ratio above 100"):
        unpack(source, tmp_path / "out", verify=False)
    assert _nothing_left(tmp_path)


def test_a_bomb_that_lies_gives_no_more_than_it_claims(tmp_path):
    name = "chest_xray/train/NORMAL/b.jpeg"
    source = _zip(tmp_path / "set.zip", nested=False, extra=[(_info(name), bytes(3_000_000))])
    _patched(source, name, local={22: struct.pack("<I", 1000)}, central={24: struct.pack("<I", 1000)})
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(source, tmp_path / "out", verify=False)
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize(("limit", "value"), [("MAX_TOTAL", 100), ("MAX_FILE", 100), ("MAX_ENTRIES", 10)])
def test_caps(tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(fetching, limit, value)
    with pytest.raises(ArchiveError):
        unpack(_zip(tmp_path / "set.zip"), tmp_path / "out")
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize(("limit", "value"), [("MAX_TOTAL", 1000), ("MAX_FILE", 100), ("RATIO_FROM", 10)])
def test_bytes_are_counted_as_they_come(tmp_path, monkeypatch, limit, value):
    source = _zip(tmp_path / "set.zip", nested=False)
    entries = fetching.plan(source)
    monkeypatch.setattr(fetching, limit, value)
    monkeypatch.setattr(fetching, "MAX_RATIO", 1)
    with pytest.raises(ArchiveError, match="limits"):
        fetching.extract(source, entries, tmp_path / "out")


def test_flipped_cut_and_other_files(tmp_path):
    source = _zip(tmp_path / "set.zip", nested=False, compression=zipfile.ZIP_STORED)
    data = bytearray(source.read_bytes())
    at = data.index(b"test/PNEUMONIA 1")
    data[at] ^= 1
    source.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"IM-0001-0001\.jpeg' is damaged"):
        unpack(source, tmp_path / "out")
    source.write_bytes(data[:2000])
    with pytest.raises(ArchiveError, match="not a complete zip"):
        unpack(source, tmp_path / "out")
    assert _nothing_left(tmp_path)
    with pytest.raises(ArchiveError, match="no file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_archives_of_something_else(tmp_path):
    for name in ("readme.txt", "ChestXRay2017.zip"):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
            file.writestr(name, "x")
        with pytest.raises(LayoutError) as caught:
            unpack(tmp_path / "set.zip", tmp_path / "out")
    assert "Unpack ChestXRay2017.zip" in caught.value.remedy


KILL = """
import os, signal, sys
from pathlib import Path
from pneumoscan.data.fetch import unpack
def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
unpack(Path(sys.argv[1]), Path(sys.argv[2]), verify=False, progress=progress)
"""


@pytest.mark.parametrize("after", [1, 14])
def test_killed_while_unpacking(tmp_path, after):
    source = _zip(tmp_path / "set.zip")
    command = [sys.executable, "-c", KILL, str(source), str(tmp_path / "out"), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert unpack(source, tmp_path / "out").counts == COUNTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set.zip"]


def test_two_at_once(tmp_path):
    with locked(tmp_path / ".out.lock"), pytest.raises(LockedError):
        unpack(_zip(tmp_path / "set.zip"), tmp_path / "out")


def test_disk_full(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_copy", full)
    with pytest.raises(DiskFullError):
        unpack(_zip(tmp_path / "set.zip"), tmp_path / "out")
    assert _nothing_left(tmp_path)


def _hub(monkeypatch, download):
    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=download))


def test_download(tmp_path, monkeypatch):
    with zipfile.ZipFile(_zip(tmp_path / "set.zip")) as file:
        file.extractall(tmp_path / "hub")
    asked = []
    _hub(monkeypatch, lambda name: asked.append(name) or str(tmp_path / "hub"))
    got = fetch(tmp_path / "out")
    assert asked == ["paultimothymooney/chest-xray-pneumonia"]
    assert got.counts == COUNTS
    assert len(load_manifest(tmp_path / "out")) == 14
    assert (tmp_path / "out/train/NORMAL/IM-0000-0001.jpeg").read_text().startswith("train/NORMAL 0")


def test_no_network(tmp_path, monkeypatch):
    def fail(_name):
        raise ConnectionError("Max retries exceeded\nwith url")

    _hub(monkeypatch, fail)
    with pytest.raises(NoNetworkError, match="Max retries exceeded") as caught:
        fetch(tmp_path / "out")
    assert "--zip" in caught.value.remedy
    assert "10.17632/rscbjbr9sj" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_no_kagglehub(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[fetch\]"):
        fetch(tmp_path / "out")
