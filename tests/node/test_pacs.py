"""DICOMweb against a scripted server: what is asked, what is understood, and what is no answer."""

import json
import logging
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import node_films
import pytest

from pneumoscan.errors import ConfigError, FilmIdentityError, PacsAnswerError, PacsAwayError, PacsLoginError
from pneumoscan.node import client, steps
from pneumoscan.node.client import decode_parts, encode_parts
from pneumoscan.node.pacs import FilmResults, Pacs, send_results
from pneumoscan.node.queue import Arrival, open_queue
from pneumoscan.node.settings import Config, PacsSettings
from pneumoscan.node.spool import Spool

pytest.importorskip("urllib3", reason="the extra `node` is not installed")


@pytest.fixture
def server():
    """A server whose `answers` are given one after the other, or by `respond`, and that keeps the requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            server.asked.append(
                (self.path, dict(self.headers), self.rfile.read(int(self.headers.get("Content-Length", 0))))
            )
            if server.respond is None:
                status, content_type, content = server.answers.pop(0)
            else:
                found = server.respond(parse_qs(urlsplit(self.path).query))
                status, content_type, content = (
                    server.status,
                    "application/dicom+json",
                    json.dumps(found).encode(),
                )
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.respond, server.status = [], [], None, 200
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pacs(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web/"
    with Pacs(Config(pacs=PacsSettings(url=url, max_object_mb=1), folder=tmp_path)) as opened:
        yield opened


def told(**values):
    tags = {
        "sop": "00080018",
        "study": "0020000D",
        "series": "0020000E",
        "modality": "00080060",
        "date": "00080020",
    }
    return {tags[name]: {"vr": "XX", "Value": [value]} for name, value in values.items()}


def answer(server, value, status=200):
    content = b"" if value is None else json.dumps(value).encode()
    server.answers.append((status, "application/dicom+json", content))


def test_a_page_of_a_query(server, pacs):
    answer(
        server,
        [told(sop="1.2", study="1.3", series="1.4", modality="DX", date="20260101"), {"00080018": 3}, 7],
    )
    found = pacs.search({"Modality": "DX", "StudyDate": "20260101-20260102"}, limit=10, offset=20)
    assert (found[0].sop_instance_uid, found[0].series_instance_uid, found[0].study_date) == (
        "1.2",
        "1.4",
        "20260101",
    )
    assert [one.sop_instance_uid for one in found[1:]] == ["", ""]
    path = server.asked[0][0]
    assert path.startswith("/dicom-web/instances?Modality=DX&StudyDate=20260101-20260102&")
    assert path.endswith("limit=10&offset=20")


def test_pages_end_with_an_empty_one(server, pacs):
    for page in ([told(sop="1"), told(sop="2")], [told(sop="3")], None):
        answer(server, page, 204 if page is None else 200)
    assert [len(page) for page in pacs.pages({}, 2)] == [2, 1]
    assert [path.rpartition("=")[2] for path, _, _ in server.asked] == ["0", "2", "3"]


@pytest.mark.parametrize(
    ("page", "films"), [(2, 7), (3, 7), (7, 7), (8, 7), (100, 7), (2, 1), (1, 5), (5, 40)]
)
@pytest.mark.parametrize("takes_limit", [True, False])
def test_a_pacs_that_ignores_offset_lists_every_film_once_and_this_ends(
    server, pacs, caplog, page, films, takes_limit
):
    listed = [told(sop=f"1.{n}") for n in range(films)]
    server.respond = lambda query: listed[: int(query["limit"][0])] if takes_limit else listed
    for _ in range(3):
        assert [one.sop_instance_uid for found in pacs.pages({}, page) for one in found] == [
            f"1.{n}" for n in range(films)
        ]
    assert len(server.asked) <= 12
    if takes_limit or films <= page:
        assert sum("offset" in record.message for record in caplog.records) == 1


def test_pages_of_a_pacs_that_gives_less_than_was_asked_for(server, pacs, caplog):
    listed = [told(sop=f"1.{n}") for n in range(8)]

    def respond(query):
        begin = int(query["offset"][0])
        return listed[begin : begin + 3]

    server.respond = respond
    assert [len(found) for found in pacs.pages({}, 100)] == [3, 3, 2]
    assert not caplog.records


def test_a_pacs_that_ignores_the_key_has_not_the_object(server, pacs):
    answer(server, [told(sop="9.9")])
    assert pacs.missing({"1.2": "1.3"}) == {"1.2"}
    answer(server, [told(sop="1.2")])
    assert pacs.missing({"1.2": ""}) == set()
    first, second = (path for path, _, _ in server.asked)
    assert "StudyInstanceUID=1.3" in first
    assert "StudyInstanceUID" not in second
    assert "includefield" not in first + second


def test_one_query_looks_for_several_objects(server, pacs):
    answer(server, [told(sop="1.1"), told(sop="1.2"), told(sop="9")])
    answer(server, [])
    assert pacs.missing({"1.1": "2", "1.2": "2", "1.3": "2"}) == {"1.3"}
    assert "SOPInstanceUID=1.1%2C1.2%2C1.3&limit=6" in server.asked[0][0]
    # Such a PACS is believed, unless it must be sure.
    answer(server, [])
    assert pacs.missing({"1.4": "2", "1.5": "2"}, sure=False) == {"1.4", "1.5"}
    for found in ([], [], [told(sop="1.5")]):
        answer(server, found)
    assert pacs.missing({"1.4": "2", "1.5": "2"}) == {"1.4"}
    assert len(server.asked) == 6


@pytest.mark.parametrize("first", [(400, "text/html", b"what?"), (200, "application/dicom+json", b"[]")])
def test_a_pacs_that_takes_no_lists_is_asked_one_by_one(server, pacs, first):
    server.answers.append(first)
    for found in ([told(sop="1.1")], [told(sop="1.2")]):
        answer(server, found)
    assert pacs.missing({"1.1": "2", "1.2": "2"}, sure=False) == set()
    assert len(server.asked) == 3


@pytest.mark.parametrize("series", [[], [told(sop="1.2", study="1.3", series="SERIES/../1")]])
def test_an_object_without_a_series_uid_is_refused_and_not_fetched(server, pacs, tmp_path, series):
    queue = open_queue(tmp_path)
    queue.add([Arrival("1.2", "1.3")])
    job = queue.claim("here", 60)
    answer(server, series or [told(sop="1.2", study="1.3")])
    tools = steps.Tools(Config(folder=tmp_path), queue, pacs, Spool(tmp_path, min_free=1), None, None)
    with pytest.raises(FilmIdentityError, match="series UID"):
        steps.fetch(tools, job)
    assert len(server.asked) == 1
    queue.close()


def test_an_object_comes_as_it_is(server, pacs):
    film = node_films.film(0)
    server.answers.append((200, *encode_parts([film])))
    assert pacs.fetch("1", "2", "3") == film
    path, headers, _ = server.asked[0]
    assert path == "/dicom-web/studies/1/series/2/instances/3"
    assert "transfer-syntax=*" in headers["Accept"]


def test_objects_are_sent_as_they_are_and_the_answer_names_them(server, pacs):
    item = {"00081155": {"vr": "UI", "Value": ["1.2"]}}
    answer(server, {"00081199": {"vr": "SQ", "Value": [item]}})
    assert pacs.store("1", [b"one", b"two"]) == {"1.2"}
    path, headers, body = server.asked[0]
    assert path == "/dicom-web/studies/1"
    assert decode_parts(headers["Content-Type"], body) == [b"one", b"two"]
    answer(server, {"00081198": {"vr": "SQ", "Value": [item]}})
    assert pacs.store("", [b"one"]) == frozenset()
    assert server.asked[1][0] == "/dicom-web/studies"


def failed(uid, sop_class, reason):
    reasons = {} if reason is None else {"00081197": {"vr": "US", "Value": [reason]}}
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [uid]},
        **reasons,
    }


SR, SC = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("sop_class", "reason", "named"),
    [
        (SR, 0x0122, ["structured reports", SR, "0x0122", "not supported"]),
        (SC, "43264", ["secondary captures", SC, "0xA900", "does not match"]),
        (SC, 0xC123, ["secondary captures", "0xC123", "cannot understand"]),
        (SR, 0x0199, ["structured reports", "0x0199"]),
        (SR, None, ["structured reports", "no reason"]),
        ("CANARY", ["CANARY"], ["objects", "no reason"]),
    ],
)
def test_what_is_not_stored_is_told_with_its_class_and_reason(server, pacs, status, sop_class, reason, named):
    answer(server, [])
    answer(server, {"00081198": {"vr": "SQ", "Value": [failed("1.2", sop_class, reason)]}}, status)
    (problem,) = send_results(pacs, [FilmResults("1", {"1.2": b"one"})])
    assert isinstance(problem, PacsAnswerError)
    assert all(word in problem.message for word in named)
    assert "CANARY" not in problem.message


def test_of_two_films_the_one_that_was_stored_is(server, pacs):
    for _ in range(3):
        answer(server, [])
    stored = {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.1"]}}]}
    answer(
        server,
        {"00081199": stored, "00081198": {"vr": "SQ", "Value": [failed("1.2", SC, 0xA700)]}},
        202,
    )
    first, second = send_results(pacs, [FilmResults("1", {"1.1": b"1"}), FilmResults("2", {"1.2": b"2"})])
    assert first is None
    assert "out of resources" in second.message


@pytest.mark.parametrize("body", [b"", b"<NativeDicomModel/>", b"[]", b"{}"])
def test_a_409_that_says_nothing_is_told_as_such(server, pacs, body):
    server.answers.append((409, "application/dicom+xml", body))
    with pytest.raises(PacsAnswerError, match="409"):
        pacs.store("1", [b"one"])


@pytest.mark.parametrize("status", [401, 403, 408, 429, 502, 503, 504])
def test_some_answers_promise_better_luck_later(server, pacs, status):
    answer(server, {}, status)
    with pytest.raises(PacsAwayError, match=f"answers {status}"):
        pacs.search({}, limit=1)


@pytest.mark.parametrize("status", [302, 400, 404, 409, 410, 500])
def test_others_do_not(server, pacs, status):
    answer(server, {"secret": "CANARY"}, status)
    with pytest.raises(PacsAnswerError, match=f"answers {status}") as caught:
        pacs.search({}, limit=1)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"3", b'{"a": 1}', b"<html>"])
def test_what_is_no_list_is_no_answer(server, pacs, content):
    server.answers.append((200, "application/json", content))
    with pytest.raises(PacsAnswerError):
        pacs.search({}, limit=1)


def test_an_object_that_is_too_long_is_not_read_to_its_end(server, pacs):
    server.answers.append((200, *encode_parts([b"\0" * (2 << 20)])))
    with pytest.raises(PacsAnswerError, match="longer than is allowed"):
        pacs.fetch("1", "2", "3")


@pytest.mark.parametrize("objects", [[], [b"1", b"2"]])
def test_another_number_of_objects_is_no_answer(server, pacs, objects):
    server.answers.append((200, *encode_parts(objects)))
    with pytest.raises(PacsAnswerError, match=f"{len(objects)} objects"):
        pacs.fetch("1", "2", "3")


@pytest.mark.parametrize("status", [401, 407])
def test_a_wrong_login_is_tried_twice_in_half_an_hour(server, pacs, monkeypatch, status):
    now = [1000.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    server.status = status
    server.respond = lambda _: []
    for _ in range(1790):
        with pytest.raises(PacsLoginError, match=str(status)) as refused:
            pacs.search({}, limit=1)
        assert refused.value.seconds > 0
        now[0] += 1
    assert len(server.asked) == 2
    # A login that was corrected in the PACS is taken when it is tried next.
    server.status = 200
    now[0] += 1800
    assert pacs.search({}, limit=1) == []
    assert pacs.search({}, limit=1) == []


def test_a_login_that_was_accepted_before_is_tried_again_soon_and_then_rarely(server, pacs, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    server.respond = lambda _: []
    pacs.search({}, limit=1)
    server.status = 401
    for _ in range(300):
        with pytest.raises(PacsLoginError):
            pacs.search({}, limit=1)
        now[0] += 1
    assert 3 <= len(server.asked) - 1 <= 5


def test_nobody_there_is_away_and_no_url_is_told(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    config = Config(pacs=PacsSettings(url="http://127.0.0.1:9/dicom-web"), folder=tmp_path)
    with Pacs(config) as pacs, pytest.raises(PacsAwayError) as caught:
        pacs.missing({"1.2.3.CANARY": ""})
    assert "CANARY" not in str(caught.value) + caplog.text
    assert caught.value.exit_code == 75


def test_an_answer_has_a_time_as_a_whole(server, pacs):
    import faulty_proxy

    for _ in range(2):
        answer(server, [told(sop="1.2")])
    proxy = faulty_proxy.FaultyProxy(pacs._url, share=1, seed=0, faults=("dawdle",))
    slow = replace(pacs._config, url=proxy.url, transfer_seconds=1.5)
    with Pacs(Config(pacs=slow)) as impatient, pytest.raises(PacsAwayError, match="too long"):
        impatient.search({}, limit=1)
    proxy.close()


def test_secrets_are_sent_and_never_shown(server, tmp_path, monkeypatch):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("PNEUMOSCAN_PACS_TOKEN", "the-token")
    answer(server, [])
    with Pacs(Config(pacs=PacsSettings(url=url), folder=tmp_path)) as pacs:
        pacs.search({}, limit=1)
        assert "the-token" not in repr(pacs) + repr(pacs._config)
    assert server.asked[0][1]["Authorization"] == "Bearer the-token"
    (tmp_path / "password").write_text("sesame")
    (tmp_path / "password").chmod(0o644)
    settings = PacsSettings(url=url, user="me", password_file="password")
    with pytest.raises(ConfigError, match="chmod 600"):
        Pacs(Config(pacs=settings, folder=tmp_path))
    (tmp_path / "password").chmod(0o600)
    monkeypatch.delenv("PNEUMOSCAN_PACS_TOKEN")
    answer(server, [])
    with Pacs(Config(pacs=settings, folder=tmp_path)) as pacs:
        pacs.search({}, limit=1)
    assert server.asked[1][1]["Authorization"].startswith("Basic ")
