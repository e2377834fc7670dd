import errno
from pathlib import Path

import pytest
import torch

from pneumoscan import files
from pneumoscan.errors import CheckpointError, DiskFullError
from pneumoscan.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint(
        {"network/w": torch.full((3, 4), value), "optimizer/0/step": torch.tensor(value)}, {"epoch": value}
    )


def test_the_newest_is_read_and_two_are_kept(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) == (None, [])
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, checkpoint(step), step=step)
    found, complaints = read_checkpoint(tmp_path)
    assert found is not None
    assert (found.state, complaints) == ({"epoch": 3}, [])
    assert torch.equal(found.tensors["network/w"], torch.full((3, 4), 3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000002.json", "step-000000002.safetensors", "step-000000003.json", "step-000000003.safetensors",
    ]  # fmt: skip


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "missing"])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_newest_gives_way_to_the_older_and_says_so(how: str, suffix: str, tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, checkpoint(step), step=step)
    damage(tmp_path / f"step-000000002{suffix}", how)
    found, complaints = read_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"epoch": 1}
    # A missing JSON is a generation that was never finished: nothing to complain of.
    assert len(complaints) == (0 if (how, suffix) == ("missing", ".json") else 1)


def test_when_all_are_damaged_it_is_loud(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, checkpoint(step), step=step)
        damage(tmp_path / f"step-{step:09d}.safetensors", "flipped")
    with pytest.raises(CheckpointError, match="every checkpoint"):
        read_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_older_ones_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, checkpoint(step), step=step)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match="no space left"):
        write_checkpoint(tmp_path, checkpoint(3), step=3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
