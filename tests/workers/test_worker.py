"""A worker process: what it says about a film is what `predict` says, and it cannot leave anything behind."""

import hashlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_lungs
from PIL import Image

from pneumoscan.bundle.contents import SHIPPED_MODELS, pretrained_bundle
from pneumoscan.bundle.heatmap import LEAST_SIDE, coloured, evidence_of_film, levels
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.errors import (
    BundleError,
    CodecMissingError,
    FilmDamagedError,
    FilmFormatError,
    FilmTooLargeError,
    FilmUniformError,
    UsageError,
)
from pneumoscan.imaging import read
from pneumoscan.workers import protocol
from pneumoscan.workers.process import _ENVIRONMENT, COMMAND
from pneumoscan.workers.protocol import ProtocolError, Reading, Want
from pneumoscan.workers.worker import read_film

BUNDLE, PLAIN = pretrained_bundle(), Want()


def encoded(pixels, kind="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def dicom(pixels):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Modality, file.BodyPartExamined, file.ViewPosition = "DX", "CHEST", "PA"
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.WindowCenter, file.WindowWidth = 2048, 4096
    file.PixelData = (pixels.astype("<u2") * 16).tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def started(model=BUNDLE, memory_mb=1024, parent=None):
    """A worker process and the blocking socket to it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [*COMMAND, str(theirs.fileno()), str(model), str(memory_mb), str(parent or os.getpid())],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=os.environ | _ENVIRONMENT,
        )  # fmt: skip
        theirs.close()
        ours.settimeout(30)
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


def said(sock, number):
    head, tail = protocol.receive(sock)
    return protocol.reading_from(head, tail, number)


def ask(sock, number, film, threshold=0.5, want=PLAIN):
    sock.sendall(protocol.question(number, film, threshold, want))
    sock.sendall(film)
    return said(sock, number)


@pytest.fixture(scope="module")
def worker():
    with started() as (process, sock):
        assert said(sock, 0).row == {}
        yield process, sock


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BUNDLE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "DICOM"])
@pytest.mark.parametrize("threshold", [0.0, 0.37, 1.0])
def test_the_row_is_that_of_predict_to_the_last_digit(worker, bundle, draw_film, kind, threshold):
    pixels = draw_film(np.random.default_rng(3), (260, 310))
    film = dicom(pixels) if kind == "DICOM" else encoded(pixels, kind)
    row = dict(ask(worker[1], 7, film, threshold).row)
    facts = {name: row.pop(name) for name in ("sha256", "logit", "distance", "width", "height", "format")}
    assert row == predict_one(bundle, film, threshold).to_json()
    assert list(row) == list(predict_one(bundle, film, threshold).to_json())
    outputs = bundle.run(_batch(bundle, film))
    assert facts == {
        "sha256": hashlib.sha256(film).hexdigest(), "logit": float(outputs.logit[0]),
        "distance": None, "width": 310, "height": 260, "format": kind,
    }  # fmt: skip


def _batch(bundle, film):
    return bundle.input_of(read(film))[0]


def test_the_heatmap_over_the_film_has_the_colours_of_the_drawn_one(bundle, draw_film):
    film = encoded(
        draw_film(np.random.default_rng(5), (LEAST_SIDE // 2, LEAST_SIDE), consolidation=True), "PNG"
    )
    seen = read(film)
    evidence = evidence_of_film(bundle, seen)
    with Image.open(io.BytesIO(read_film(bundle, film, 0.5, Want(heatmap=True)).heatmap)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (LEAST_SIDE, LEAST_SIDE // 2))
        drawn = np.asarray(image)
    level = np.asarray(levels(evidence, (LEAST_SIDE, LEAST_SIDE // 2)))
    assert level.max() > 30, "this film must have something to show"
    assert ((drawn[:, :, 3] == 0) == (level == 0)).all()
    # On a white film the shade of the film is none, so the two must be one.
    white = Image.new("L", image.size, 255)
    over = Image.alpha_composite(white.convert("RGBA"), Image.fromarray(drawn)).convert("RGB")
    both = np.asarray(over).astype(int), np.asarray(coloured(white, Image.fromarray(level))).astype(int)
    assert np.abs(both[0] - both[1]).max() <= 1


@pytest.mark.parametrize(
    ("size", "heatmap"), [((1000, 1300), (512, 394)), ((64, 4000), (512, 8)), ((2500, 40), (8, 512))]
)
def test_pictures_keep_the_films_shape(bundle, draw_film, size, heatmap):
    reading = read_film(bundle, encoded(draw_film(size=size), "PNG"), 0.5, Want(heatmap=True, picture=True))
    with Image.open(io.BytesIO(reading.heatmap)) as image:
        assert image.size == heatmap
    with Image.open(io.BytesIO(reading.picture)) as image:
        assert (image.mode, max(image.size)) == ("L", min(2048, max(size)))
        assert image.width / image.height == pytest.approx(size[1] / size[0], rel=0.05)


def test_the_picture_is_the_film_as_it_was_read(worker, draw_film):
    film = dicom(draw_film(size=(300, 200)))
    reading = ask(worker[1], 1, film, want=Want(picture=True))
    assert reading.heatmap is None
    with Image.open(io.BytesIO(reading.picture)) as image:
        assert (np.asarray(image) == read(film).pixels).all()
    both = ask(worker[1], 2, film, want=Want(heatmap=True, picture=True))
    assert both.picture == reading.picture
    assert both.heatmap.startswith(b"\x89PNG")


def test_refusals_are_those_of_the_door(worker, draw_film):
    jpeg = encoded(draw_film())
    for number, film in enumerate(
        (b"", b"hello", jpeg[:50], jpeg[: len(jpeg) // 2], encoded(np.zeros((64, 64), np.uint8)))
    ):
        with pytest.raises(Exception) as here:  # noqa: PT011
            read(film)
        with pytest.raises(type(here.value)) as there:
            ask(worker[1], number, film)
        assert type(there.value) is type(here.value)
        assert (there.value.message, there.value.remedy) == (here.value.message, here.value.remedy)
    assert ask(worker[1], 9, jpeg).row["status"] == "ok"


def test_a_film_that_does_not_fit_in_memory_costs_only_its_answer(draw_film):
    pixels = np.zeros((6000, 8000, 3), np.uint8)
    pixels[0, 0] = 255
    bomb = encoded(pixels, "PNG", compress_level=1)
    with started(memory_mb=60) as (process, sock):
        said(sock, 0)
        with pytest.raises(FilmTooLargeError):
            ask(sock, 1, bomb)
        with pytest.raises(FilmTooLargeError):
            ask(sock, 2, bytes(100 << 20))
        assert ask(sock, 3, encoded(draw_film())).row["status"] == "ok"
        assert process.poll() is None


@pytest.mark.slow
def test_the_largest_film_that_is_legal_is_read(worker):
    pixels = np.random.default_rng(0).integers(0, 255, (800, 800, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    assert ask(worker[1], 1, encoded(pixels, "JPEG")).row["width"] == 8000
    assert ask(worker[1], 2, encoded(pixels, "PNG", compress_level=1)).row["height"] == 8000


def status(process, key):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return line.split()[1]
    return None


def test_a_worker_is_confined(worker):
    process, _ = worker
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    limit = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()[1:]}
    assert limit["Max core file size"] == limit["Max file size"] == limit["Max processes"] == ["0", "0"]
    assert int(limit["Max open files"][1]) <= 64
    assert limit["Max address space"][1] != "unlimited"
    assert status(process, "NoNewPrivs") == "1"
    assert int(status(process, "Threads")) <= 2  # ONNX Runtime has one of its own
    ignored = int(status(process, "SigIgn"), 16)
    assert all(ignored >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def test_it_ends_with_its_socket():
    with started() as (process, sock):
        said(sock, 0)
        sock.close()
        assert process.wait(5) == 0


def test_it_does_not_begin_for_a_parent_that_is_gone():
    with started(parent=1) as (process, sock):
        assert protocol.receive(sock) is None
        assert process.wait(5) == 0


def test_it_ends_with_its_parent(tmp_path):
    script = (
        "import subprocess, socket, os, sys, time\n"
        "from pneumoscan.workers import protocol\n"
        "a, b = socket.socketpair()\n"
        f"command = [*{list(COMMAND)!r}, str(b.fileno()), {str(BUNDLE)!r}, '1024', str(os.getpid())]\n"
        # The worker gets both ends, so that its socket does not end with the parent.
        "p = subprocess.Popen(command, pass_fds=(a.fileno(), b.fileno()))\n"
        "protocol.receive(a)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert _gone(pid)


def _gone(pid, seconds=5.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_model_that_does_not_load_is_told(tmp_path):
    for model, kind in ((tmp_path, BundleError), (tmp_path / "none", UsageError)):
        with started(model) as (process, sock), pytest.raises(kind, match=str(model)):
            said(sock, 0)
        assert process.returncode in {1, -signal.SIGKILL}


# Frames


def test_errors_come_back_as_what_they_were():
    for problem in (
        FilmDamagedError("what", "do"), CodecMissingError("a", "b"), FilmFormatError("é", ""), FilmUniformError("x"),
    ):  # fmt: skip
        text = protocol.refusal(4, problem)
        head = protocol.head_of(text[protocol.LENGTHS.size :])
        with pytest.raises(type(problem)) as back:
            protocol.reading_from(head, b"", 4)
        assert type(back.value) is type(problem)
        assert (back.value.message, back.value.remedy) == (problem.message, problem.remedy)


def test_every_error_has_a_way_back():
    from pneumoscan import errors

    kinds = protocol._kinds()
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, errors.PneumoscanError):
            assert kinds[thing.code] is thing


@pytest.mark.parametrize(
    "head",
    [
        {"number": 2, "row": {}, "heatmap": None, "picture": None}, {"row": {}}, {"number": 1}, {"number": 1, "row": 3},
        {"number": 1, "row": {}, "heatmap": 4, "picture": None}, {"number": 1, "row": {}, "heatmap": -1, "picture": 1},
        {"number": 1, "row": {}, "heatmap": True}, {"number": 1, "code": "film.unheard"}, {"number": 1, "code": None},
    ],
)  # fmt: skip
def test_nonsense_is_no_reading(head):
    with pytest.raises(ProtocolError):
        protocol.reading_from(head, b"", 1)


def test_what_another_reader_is_told_and_makes_comes_through():
    reading = protocol.Reading({"label": "NORMAL"}, None, b"picture", (b"one", b"", b"three"))
    sent = protocol.answer(3, reading)
    head, tail = protocol.lengths(sent[:8])
    assert protocol.reading_from(protocol.head_of(sent[8 : 8 + head]), sent[8 + head :], 3) == reading
    assert len(sent) == 8 + head + tail
    asked = protocol.question(1, b"film", 0.5, protocol.Want(more={"made_at": None}))
    assert protocol.head_of(asked[8:])["more"] == {"made_at": None}


@pytest.mark.parametrize("files", [3, [-1], ["1"], [5]])
def test_files_of_another_length_than_is_told_are_nonsense(files):
    with pytest.raises(ProtocolError):
        protocol.reading_from({"number": 1, "row": {}, "files": files}, b"1234", 1)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 60_000])
def test_nonsense_is_no_head(text):
    with pytest.raises(ProtocolError):
        protocol.head_of(text)


@pytest.mark.parametrize(
    "prefix", [struct.pack(">II", protocol.MAX_HEAD + 1, 0), struct.pack(">II", 2, 1 << 31), b"HTTP/1.1"]
)
def test_nonsense_is_no_prefix(prefix):
    with pytest.raises(ProtocolError):
        protocol.lengths(prefix)


def test_numbers_that_are_none_do_not_go_out():
    with pytest.raises(ValueError, match="JSON"):
        protocol.answer(1, Reading({"logit": float("nan")}))


def test_what_a_frame_says_comes_out_again():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for reading in (
            Reading({"a": 0.1}),
            Reading({"b": None}, b"x", b"yz"),
            Reading({}, None, b"z"),
            Reading({}, b"", b""),
        ):
            ours.sendall(protocol.answer(3, reading))
            assert protocol.reading_from(*protocol.receive(theirs), 3) == reading
        ours.close()
        assert protocol.receive(theirs) is None
    assert json.loads(protocol.question(1, b"film", 0.1, Want(heatmap=True))[8:])["threshold"] == 0.1


def test_an_end_in_the_middle_is_told():
    for data in (protocol.answer(3, Reading({}, b"x" * 100))[:-1], protocol.answer(3, Reading({}))[:12]):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(data)
            ours.close()
            with pytest.raises(ProtocolError):
                protocol.receive(theirs)


def test_lungs_are_in_the_row_if_they_are_requested(tmp_path):
    lungs_bundle = load_bundle(tiny_lungs.write_lungs_bundle(tmp_path / "lungs"))
    film = encoded(tiny_lungs.draw_chest(), "PNG")
    assert "lungs" not in read_film(lungs_bundle, film, 0.5, Want()).row
    row = read_film(lungs_bundle, film, 0.5, Want(lungs=True)).row
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["lungs"]["quality"]["parts"] == len(row["lungs"]["outlines"]) == 2
    left, top, right, bottom = row["lungs"]["box"]
    for outline in row["lungs"]["outlines"]:
        assert all(left <= x <= right and top <= y <= bottom for x, y in outline)


def test_lungs_of_a_model_without_them_are_none(draw_film):
    bundle = load_bundle(SHIPPED_MODELS["baseline"])
    assert read_film(bundle, encoded(draw_film(), "PNG"), 0.5, Want(lungs=True)).row["lungs"] is None
