"""The spool, the audit, headers and multipart bodies."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import dicom_films
import node_films
import pytest

from pneumoscan.errors import DataDamagedError, DiskFullError, FilmError
from pneumoscan.node.audit import Audit, verify
from pneumoscan.node.client import decode_parts, encode_parts
from pneumoscan.node.header import read_header
from pneumoscan.node.spool import PICTURE, REPORT, Spool

# The spool


def test_what_is_put_is_read_and_dropped_with_its_results(tmp_path):
    spool = Spool(tmp_path / "spool", min_free=1)
    name = spool.put(b"film")
    spool.write({name + REPORT: b"report", name + PICTURE: b"picture"})
    assert (spool.read(name), spool.read(name + PICTURE)) == (b"film", b"picture")
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in spool.folder.iterdir()} == {0o600}
    assert len(spool) == 3
    spool.drop(name)
    spool.drop(name)
    assert (len(spool), spool.read(name)) == (0, None)


def test_recent_films_are_kept_in_memory_up_to_a_bound(tmp_path):
    spool = Spool(tmp_path, min_free=1, recent=5)
    names = [spool.put(content) for content in (b"one", b"two", b"33")]
    for name in names:
        (tmp_path / name).unlink()
    # The oldest had to go for the third; the others are read once.
    assert [spool.read(name) for name in names] == [None, b"two", b"33"]
    assert spool.read(names[1]) is None
    spool.drop(spool.put(b"four"))
    assert spool._recent == {}


def test_no_name_from_outside_is_a_path(tmp_path):
    spool = Spool(tmp_path / "spool", min_free=1)
    for name in ("../queue.sqlite", "/etc/passwd", "", "a" * 32 + ".txt"):
        with pytest.raises(ValueError, match="no name"):
            spool.read(name)


def test_too_little_space_is_told_before_anything_is_written(tmp_path):
    spool = Spool(tmp_path, min_free=1 << 60)
    with pytest.raises(DiskFullError, match="would be left"):
        spool.put(b"film")
    assert len(spool) == 0


def test_files_of_no_row_are_removed(tmp_path):
    spool = Spool(tmp_path, min_free=1)
    kept, lost = spool.put(b"1"), spool.put(b"2")
    spool.write({kept + REPORT: b"3"})
    (tmp_path / f".{lost}.tmp").write_bytes(b"half")
    assert spool.clean({kept}) == 2
    assert spool.read(kept + REPORT) == b"3"
    assert spool.read(lost) is None


# The audit


def test_each_line_has_the_hash_of_the_one_before(tmp_path):
    path = tmp_path / "audit.jsonl"
    audits = [Audit(path), Audit(path)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: audits[n % 2].write("done", job=n, note="é" * 200), range(100)))
    assert verify(path) == 100
    assert {json.loads(line)["job"] for line in path.read_text().splitlines()} == set(range(100))
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["change", "remove", "swap", "insert", "no json"])
def test_a_line_that_was_changed_or_taken_out_is_found(tmp_path, harm):
    path = tmp_path / "audit.jsonl"
    for n in range(5):
        Audit(path).write("done", job=n)
    lines = path.read_bytes().splitlines(keepends=True)
    if harm == "change":
        lines[2] = lines[2].replace(b'"job": 2', b'"job": 7')
    elif harm == "remove":
        del lines[2]
    elif harm == "swap":
        lines[1:3] = lines[2:0:-1]
    elif harm == "insert":
        lines.insert(2, lines[2])
    else:
        lines[2] = b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataDamagedError, match=r"line [2345]"):
        verify(path)


def test_a_line_that_a_crash_cut_off_does_no_harm(tmp_path):
    path = tmp_path / "audit.jsonl"
    for n in range(3):
        Audit(path).write("done", job=n)
    os.truncate(path, path.stat().st_size - 20)
    Audit(path).write("start")
    Audit(path).write("stop")
    assert verify(path) == 5


# Headers


def test_a_header_tells_which_object_it_is_and_what_made_it():
    header, stored, pixels = read_header(node_films.film(3, studies=2, today="20260102"))
    assert header.sop_instance_uid == node_films.sop(3)
    assert header.study_instance_uid.endswith(".1.1")
    assert (header.modality, header.study_date, header.device) == ("DX", "20260102", "ACME X1")
    assert header.accession_number == "CANARY1"
    assert "NAME" not in repr(header)
    again = read_header(node_films.film(3, StudyDescription="other"))
    assert (len(pixels), again[1:]) == (64, (stored, pixels))
    assert read_header(node_films.film(4))[2] != pixels


@pytest.mark.parametrize("syntax", dicom_films.SYNTAXES)
def test_every_syntax_has_a_header(syntax):
    content = dicom_films.film(dicom_films.picture(), dicom_films.SYNTAXES[syntax], StudyInstanceUID="1.2")
    header, stored, pixels = read_header(content)
    assert (header.sop_instance_uid, header.study_instance_uid, len(stored)) == ("1.2.3.4", "1.2", 64)
    assert pixels in {"", stored}


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"\xff\xd8\xff" + b"\0" * 300])
def test_what_is_no_dicom_file_is_refused(data):
    with pytest.raises(FilmError):
        read_header(data)


def test_a_uid_that_is_none_is_empty():
    content = node_films.film(0, SOPInstanceUID="1.22.33.4").replace(b"1.22.33.4", b"1.2/../34")
    assert read_header(content)[0].sop_instance_uid == ""


# Multipart


def test_what_is_encoded_is_decoded_to_the_byte():
    objects = [os.urandom(5000), b"", b"\r\n--", b"\r\n\r\n", b"ends with a line\r\n"]
    content_type, body = encode_parts(objects)
    assert decode_parts(content_type, body) == objects


def test_other_writers_are_understood():
    body = b"preamble\r\n--b\r\nContent-Type: application/dicom\r\nContent-Length: 4\r\n\r\nDICM\r\n--b--\r\nepilogue"
    assert decode_parts('Multipart/Related; type="application/dicom"; boundary="b"', body) == [b"DICM"]
    assert decode_parts("multipart/related;boundary=b", b"--b\r\n\r\nX\r\n--b--") == [b"X"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/dicom", b"DICM"),
        ("multipart/related", b"--b\r\n\r\nX\r\n--b--"),
        ("multipart/related; boundary=b", b""),
        ("multipart/related; boundary=b", b"--b\r\n\r\nX"),
        ("multipart/related; boundary=b", b"--b\r\n\r\nX\r\n--b"),
        ("multipart/related; boundary=b", b"--c\r\n\r\nX\r\n--c--"),
        ("multipart/related; boundary=b", b"--b\r\nContent-Type: application/dicom\r\n--b--"),
    ],
)
def test_a_body_that_is_not_whole_is_refused(content_type, body):
    with pytest.raises(ValueError, match=r"."):
        decode_parts(content_type, body)
