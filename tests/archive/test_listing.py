"""The inputs of an archive, from disks, lists and object stores."""

import os
from io import BytesIO
from pathlib import Path

import pytest

from pneumoscan.archive.inputs import described, inputs_of, read_shard, write_shards
from pneumoscan.archive.storage import LocalFolder, open_folder
from pneumoscan.errors import DataDamagedError
from pneumoscan.predict.sources import expand


def test_shards_hold_every_input_once_and_in_order(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    inputs = [f"film {number}\n.png" for number in range(23)] + [os.fsdecode(b"\xff.png")]
    listing = write_shards(folder, iter(inputs), 5)
    assert (listing.inputs, listing.shards) == (24, 5)
    assert [path for shard in range(5) for path in read_shard(folder, shard)] == inputs
    assert described(iter(inputs), 5) == listing
    assert described(iter(inputs[::-1]), 5).sha256 != listing.sha256
    with pytest.raises(DataDamagedError, match="000005"):
        read_shard(folder, 5)


def test_the_folder_of_the_answers_is_no_input(films: Path) -> None:
    out = films / "ward" / "answers"
    before = list(expand([str(films)]))
    out.mkdir()
    (out / "part-000000.csv").write_text("path")
    (films / "answers.png").write_bytes(b"a film whose name resembles the folder's")
    found = list(inputs_of([str(films)], str(out)))
    assert sorted(found) == sorted([*before, str(films / "answers.png")])
    assert list(inputs_of([f"file://{films}"], f"file://{out}")) == found


def test_a_list_on_stdin(tmp_path: Path) -> None:
    found = inputs_of(["-"], str(tmp_path), stdin=BytesIO(b"s3://films/1.png\n/films/2.png\n"))
    assert list(found) == ["s3://films/1.png", "/films/2.png"]


def test_objects_follow_the_rules_of_folders() -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra `archive` is not installed")
    store = fsspec.filesystem("memory")
    names = ["b.png", "a/2.png", "a/1.png", "c/d/3.dcm", ".hidden/4.png", "DICOMDIR"]
    for name in names:
        store.pipe_file(f"/listing/{name}", b"film")
    url = "memory://listing"
    expected = [f"memory:///listing/{name}" for name in ("a/1.png", "a/2.png", "b.png", "c/d/3.dcm")]
    assert list(inputs_of([url], "rows")) == expected
    assert list(inputs_of([url], "rows", recursive=False)) == ["memory:///listing/b.png"]
    assert list(inputs_of([f"{url}/a/*.png"], "rows")) == expected[:2]
    assert list(inputs_of([url, f"{url}/gone.png"], "memory:///listing/a")) == [
        *expected[2:],
        f"{url}/gone.png",
    ]


def test_a_folder_in_an_object_store() -> None:
    pytest.importorskip("fsspec", reason="the extra `archive` is not installed")
    folder = open_folder("memory://answers/of/today/")
    assert folder.names() == set()
    assert folder.read("a/b") is None
    folder.write("a/b", b"1")
    folder.write("a/b", b"2")
    folder.write("c", b"3")
    assert (folder.read("a/b"), folder.names("a"), folder.names()) == (b"2", {"b"}, {"a", "c"})
    folder.remove("c")
    folder.remove("c")
    assert folder.names() == {"a"}
