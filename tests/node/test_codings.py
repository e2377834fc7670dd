"""The same film in another transfer syntax is the same film; other pixels with the same UID are not."""

import asyncio
from dataclasses import replace

import dicom_films
import numpy as np
import pytest
from node_films import sop
from pydicom import uid

from pneumoscan.errors import FilmError
from pneumoscan.node import reader
from pneumoscan.node.audit import Audit
from pneumoscan.node.header import pixels_sha256_of, read_header
from pneumoscan.node.queue import Arrival, State, open_queue
from pneumoscan.node.reader import load_model, writer_of
from pneumoscan.node.results import make_results
from pneumoscan.node.settings import Config, NodeSettings
from pneumoscan.node.spool import Spool
from pneumoscan.node.steps import Tools
from pneumoscan.node.work import Work

pytest.importorskip("highdicom", reason="the extra `node` is not installed")
pytest.importorskip("imagecodecs", reason="the extra `dicom` is not installed")
SYNTAXES = list(dicom_films.SYNTAXES.values())
PICTURE = dicom_films.picture(12, (96, 90))


def film(syntax=uid.ExplicitVRLittleEndian, *, number=0, pixels=PICTURE, **header):
    values = {"SOPInstanceUID": sop(number), "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2"}
    return dicom_films.film(pixels, syntax, **{"BitsStored": 12, **values, **header})


@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (12, False), (16, False), (12, True), (16, True), (8, True)]
)
def test_the_pixels_are_the_same_in_every_transfer_syntax(bits, signed):
    pixels = dicom_films.picture(bits, (64, 66), signed)
    hashes = {
        pixels_sha256_of(film(syntax, pixels=pixels, BitsStored=bits))
        for syntax in SYNTAXES
        if not (signed and syntax == uid.JPEG2000Lossless)
    }
    assert len(hashes) == 1
    other = pixels.copy()
    other[30, 30] ^= 1
    assert pixels_sha256_of(film(pixels=other, BitsStored=bits)) not in hashes
    turned = pixels.reshape(66, 64)
    assert pixels_sha256_of(film(pixels=turned, BitsStored=bits)) not in hashes


def test_bits_beside_the_pixel_are_no_pixels():
    high = film(pixels=PICTURE << 4, HighBit=15)
    overlay = film(pixels=PICTURE | 0x8000)
    assert {pixels_sha256_of(one) for one in (high, overlay)} == {pixels_sha256_of(film())}


def test_a_codestream_with_the_unused_bits_and_one_without_them_are_one_film():
    uids = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2"}
    whole, stored = (
        dicom_films.encapsulated(
            dicom_films.jpeg_2000(frame, bits),
            PICTURE,
            uid.JPEG2000Lossless,
            BitsStored=12,
            HighBit=15,
            **uids,
        )
        for frame, bits in ((PICTURE << 4, 16), (PICTURE, 12))
    )
    hashes = {pixels_sha256_of(one) for one in (whole, stored, film(pixels=PICTURE << 4, HighBit=15))}
    assert hashes == {pixels_sha256_of(film())}


def test_colours_are_the_same_in_every_transfer_syntax():
    grey = dicom_films.picture(8, (64, 66))
    colours = np.ascontiguousarray(np.stack([grey, grey[::-1], grey], -1))
    hashes = {
        pixels_sha256_of(
            film(syntax, pixels=colours, BitsStored=8, SOPClassUID=dicom_films.SC, Modality="OT")
        )
        for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless)
    }
    assert len(hashes) == 1


@pytest.fixture
def node(tmp_path, bundle):
    """A node without a PACS that reads films in this process."""

    class Pool:
        async def read(self, content, *, threshold, want):
            return reader.read_film(loaded, content, threshold, want)

    config = Config(node=NodeSettings(name="here", model=str(bundle), min_free_mb=1), folder=tmp_path)
    loaded = load_model(config)
    queue, spool = open_queue(config.data), Spool(config.spool, min_free=1)
    yield Tools(config, queue, None, spool, Pool(), writer_of(config, loaded))
    queue.close()


def receive(node, content):
    """Take an object as the receiver does; return the state of its new row."""
    header, stored, pixels = read_header(content)
    arrival = Arrival(
        header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid, "c-store"
    )
    name = node.spool.put(content)
    state = node.queue.receive(arrival, host="here", spool=name, stored_sha256=stored, pixels_sha256=pixels)
    if state is not State.FETCHED:
        node.spool.drop(name)
    return state


def work(node):
    """Bring every row to its end; return the counts of the states that have rows."""
    doing = Work(node, Audit(node.config.data / "audit.jsonl"))

    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(doing.run(stop))
        while any(node.queue.counts()[state] for state in ("found", "fetched", "made", "stored")):
            await asyncio.sleep(0.02)
        stop.set()
        await task

    asyncio.run(asyncio.wait_for(run(), 60))
    return {str(state): count for state, count in node.queue.counts().items() if count}


@pytest.mark.parametrize("first", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.JPEG2000Lossless])
@pytest.mark.parametrize("second", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
@pytest.mark.parametrize("between", [True, False])
def test_two_codings_of_one_film_are_one_film(node, first, second, between):
    receive(node, film(first))
    if between:
        assert work(node) == {"done": 1}
    receive(node, film(second))
    assert work(node) == {"done": 1}
    # Both can come again.
    for syntax in (first, second):
        receive(node, film(syntax))
    assert work(node) == {"done": 1}
    assert len(node.spool) == 0
    (job,) = node.queue.jobs()
    assert job.pixels_sha256 == pixels_sha256_of(film())


@pytest.mark.parametrize("first", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
@pytest.mark.parametrize("second", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
@pytest.mark.parametrize("between", [True, False])
def test_other_pixels_with_the_same_uid_are_a_conflict_in_any_coding(node, first, second, between):
    receive(node, film(first))
    if between:
        work(node)
    for _ in range(2):
        receive(node, film(second, pixels=PICTURE[::-1].copy()))
        assert work(node) == {"done": 1, "conflict": 1}
    assert len(node.spool) == 0
    assert {job.label != "" for job in node.queue.jobs([State.CONFLICT])} == {False}


def test_two_codings_of_a_film_that_is_refused_are_one_film(node):
    for syntax in (uid.JPEGLSLossless, uid.RLELossless, uid.ExplicitVRLittleEndian):
        receive(node, film(syntax, ViewPosition="LL"))
    assert work(node) == {"refused": 1}
    assert len(node.spool) == 0


class Archive:
    """A PACS that has compressed its films."""

    def __init__(self, content):
        self.content = content

    def fetch(self, *_):
        return self.content


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (film(uid.JPEGLSLossless), {"done": 2}),
        (film(uid.DeflatedExplicitVRLittleEndian), {"done": 2}),
        (film(uid.JPEGLSLossless, pixels=PICTURE[::-1].copy()), {"done": 1, "conflict": 1}),
        (film(pixels=PICTURE[::-1].copy()), {"done": 1, "conflict": 1}),
    ],
)
def test_a_film_that_was_compressed_later_is_read_again(node, content, counts):
    receive(node, film())
    work(node)
    node.queue.add([Arrival(sop(0), "1.2.1", "1.2.2", reading="another")])
    assert work(replace(node, pacs=Archive(content))) == counts


def test_results_of_a_film_that_was_compressed_have_the_same_bytes():
    from hospital_films import MADE_AT, finding, writer

    before, *others = (
        [one.content for one in make_results(film(syntax), finding(), writer(), made_at=MADE_AT)]
        for syntax in SYNTAXES
    )
    assert all(one == before for one in others)


def test_a_film_that_cannot_be_decoded_has_no_hash():
    content = film(uid.JPEGLSLossless)
    with pytest.raises(FilmError):
        pixels_sha256_of(content[:-400] + bytes(400))
    assert read_header(film(Rows=200))[2] == ""
