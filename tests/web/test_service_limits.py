"""What the service does to those who send too much, too slowly, too often, or from elsewhere."""

import asyncio
import os
import select
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import live_service as service
import pytest

from pneumoscan.web import body, connection
from pneumoscan.web.limits import Settings, host_name
from pneumoscan.web.responses import HTTP_CODES, Refused, refused

MIB = 1 << 20


ask, put, request, Raw, wait_for = service.ask, service.put, service.request, service.Raw, service.wait_for
SMALL = Settings(film_bytes=MIB, idle_seconds=0.5, body_seconds=1.5, ready_seconds=0.5)


@pytest.fixture(scope="module")
def small() -> Iterator[Any]:
    with service.threaded(SMALL) as running:
        yield running


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def put_head(port: int, **fields: str) -> bytes:
    headers = {
        "Content-Type": "image/jpeg",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    return bytes(request(port, "PUT", "/v1/classify", None, headers))


# Sizes


def test_a_large_body_is_refused_before_it_is_sent(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length=str(2 << 30)))
        answer = raw.read()
        assert (answer.status, answer.json["code"]) == (413, "film.too_large")
        assert answer.closed
        raw.send(b"x" * 3 * MIB)
        assert raw.ended()


def test_a_client_that_sends_first_can_read_the_answer(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length=str(7 * MIB)) + b"x" * 7 * MIB)
        assert raw.read().status == 413


def test_what_is_thrown_away_is_bounded(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length=str(2 << 30)))
        assert raw.read().status == 413
        with pytest.raises(ConnectionError):
            raw.send(b"x" * 100 * MIB)


def test_a_body_without_a_length_is_counted(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Transfer_Encoding="chunked"))
        for _ in range(20):
            raw.send(chunk(b"x" * 65536))
        answer = raw.read()
    assert (answer.status, answer.json["code"]) == (413, "film.too_large")


def test_a_large_form_is_refused(small: Any) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="film"; filename="a"\r\n\r\n'
    fields = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = ask(small.port, "POST", "/v1/classify", head + b"y" * (MIB + 1) + b"\r\n--x--", fields)
    assert (answer.status, answer.json["code"]) == (413, "film.too_large")
    answer = ask(small.port, "POST", "/v1/classify", head + b"\r\n-" * (MIB // 3 - 9) + b"\r\n--x--", fields)
    assert answer.status == 200


def test_a_form_with_a_film_of_many_megabytes_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def rolled(_: Any) -> None:
        raise AssertionError("the film goes to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rolled)
    film = os.urandom(5 * MIB)
    head = b'--x\r\nContent-Disposition: form-data; name="film"; filename="a"\r\n\r\n'
    messages = iter(
        {"type": "http.request", "body": piece, "more_body": piece[-5:] != b"--x--"}
        for piece in (head, film[:MIB], film[MIB:], b"\r\n--x--")
    )

    async def receive() -> Any:
        return next(messages)

    with body.Budget(8 * MIB).share() as share:
        assert asyncio.run(body.read_form(receive, b"x", body.BodyLimits(6 * MIB), share)) == film
        assert share.held > 5 * MIB


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 411, "http.length"),
        ({"Content_Length": "5", "Transfer_Encoding": "chunked"}, 400, "http.length"),
        ({"Content_Length": "5", "Content_Encoding": "gzip"}, 415, "http.content_encoding"),
        ({"Content_Length": "5", "Content_Type": "text/plain"}, 415, "http.media_type"),
        ({"Content_Length": "5", "Content_Type": ""}, 415, "http.media_type"),
        ({"Content_Length": "-5"}, 400, "http.malformed"),
        ({"Content_Length": "5, 6"}, 400, "http.malformed"),
        ({"Transfer_Encoding": "gzip"}, 400, "http.malformed"),
    ],
)
def test_a_body_must_say_what_it_is(small: Any, fields: dict[str, str], status: int, code: str) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, **fields))
        answer = raw.read()
    assert (answer.status, answer.json["code"]) == (status, code)


def test_a_large_header_is_refused(small: Any) -> None:
    for pause in (False, True):
        with Raw(small.port) as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\n")
            if pause:
                time.sleep(0.05)
            raw.send(b"Host: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n")
            answer = raw.read()
            assert (answer.status, answer.json["code"]) == (431, "http.header")
            assert answer.json["remedy"]
    assert ask(small.port, "GET", "/healthz", None, {"X": "y" * 15_000}).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
        b"PUT /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET \xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_gets_400(small: Any, data: bytes) -> None:
    with Raw(small.port) as raw:
        raw.send(data)
        answer = raw.read()
        assert (answer.status, answer.json["code"]) == (400, "http.malformed")
        assert answer.json["remedy"]
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.ended()


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xe0" + b"\0" * 40_000, b"\xff\xd8\r\n\r\n" + b"\0" * 40_000, b"5;" + b"x" * 40_000,
        b"3\r\nabcdef\r\n",
    ],
)  # fmt: skip
def test_a_body_that_is_not_in_chunks_is_no_large_header(small: Any, body: bytes) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Transfer_Encoding="chunked") + body)
        answer = raw.read()
    assert (answer.status, answer.json["code"]) == (400, "http.malformed")
    assert "body" in answer.json["detail"]
    assert "chunked" in answer.json["remedy"]


def test_a_body_in_crumbs_is_refused(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Transfer_Encoding="chunked") + chunk(b"x") * 50_000)
        began = time.monotonic()
        answer = raw.read()
        assert (answer.status, answer.json["code"]) == (400, "http.malformed")
        assert time.monotonic() - began < 2
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Transfer_Encoding="chunked") + chunk(b"x") * 1000 + b"0\r\n\r\n")
        assert raw.read().status == 200


# Time


def test_a_slow_header_gets_408(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.4)
    with Raw(small.port) as silent, Raw(small.port) as slow:
        began = time.monotonic()
        slow.send(b"GET / HT")
        time.sleep(0.2)
        slow.send(b"TP/1.1\r\n")
        assert slow.read().json["code"] == "http.timeout"
        assert silent.ended()
        assert 0.3 < time.monotonic() - began < 2
    with Raw(small.port) as raw:
        raw.send(request(small.port, "GET", "/healthz"))
        assert raw.read().status == 200
        time.sleep(0.6)
        raw.send(request(small.port, "GET", "/healthz") + b"GET / HT")
        assert raw.read().status == 200
        assert raw.read().status == 408


def test_a_slow_body_gets_408(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length="100") + b"x")
        answer = raw.read()
        assert (answer.status, answer.json["code"]) == (408, "http.timeout")
    with Raw(small.port) as raw:
        began = time.monotonic()
        raw.send(put_head(small.port, Content_Length="100"))
        while not select.select([raw.socket], [], [], 0.2)[0]:
            raw.send(b"x")
        assert raw.read().status == 408
        assert 1.4 < time.monotonic() - began < 3
    assert small.app.state.service.budget.used == 0


def test_an_answer_that_is_not_taken_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_STALL_SECONDS", 0.3)
    with service.threaded() as running, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        film = b"x" * 16 * MIB
        fields = {"Content-Type": "image/jpeg"}
        client.sendall(request(running.port, "PUT", "/v1/classify?include=picture", film, fields))
        held = running.app.state.service.budget
        assert wait_for(lambda: held.used > 20 * MIB), held.used
        assert wait_for(lambda: held.used == 0 and not running.server.server_state.connections, 5)


# Numbers


def test_a_full_queue_is_told_before_the_body() -> None:
    pool = service.StandIn(places=1, waiting=2)
    pool.open.clear()
    with service.threaded(Settings(queue=2), pool) as running:
        threads = [threading.Thread(target=put, args=(running.port, b"film")) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert wait_for(lambda: pool.inside == 3)
        with Raw(running.port) as raw:
            raw.send(put_head(running.port, Content_Length=str(MIB)))
            answer = raw.read()
            assert (answer.status, answer.json["code"]) == (503, "http.busy")
            assert int(answer.headers["retry-after"]) >= 1
        assert ask(running.port, "GET", "/healthz").status == 200
        pool.open.set()
        for thread in threads:
            thread.join()
        assert put(running.port, b"film").status == 200


def test_slow_uploads_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_FRESH_SECONDS", 0.3)
    with service.threaded(Settings(queue=2)) as running:
        slow = [Raw(running.port) for _ in range(80)]
        try:
            for raw in slow:
                raw.send(put_head(running.port, Content_Length="1000") + b"x")
            assert wait_for(lambda: put(running.port, b"film").status == 503 or True)
            time.sleep(0.5)
            assert put(running.port, b"film").status == 200
            assert running.pool.waiting == 0
        finally:
            for raw in slow:
                raw.socket.close()


def test_only_so_many_bodies_are_admitted_at_once() -> None:
    import asyncio

    async def come() -> int:
        entry = body.Admission(2)
        leave = [entry.enter() for _ in range(2)]
        with pytest.raises(Refused):
            entry.enter()
        leave[0]()
        leave[0]()
        entry.enter()
        with pytest.raises(Refused):
            entry.enter()
        return 1

    assert asyncio.run(come()) == 1


def test_all_bodies_together_are_bounded() -> None:
    with (
        service.threaded(Settings(film_bytes=4 * MIB, memory_bytes=5 * MIB)) as running,
        Raw(running.port) as first,
    ):
        first.send(put_head(running.port, Content_Length=str(4 * MIB)) + b"x" * 3 * MIB)
        budget = running.app.state.service.budget
        assert wait_for(lambda: budget.used == 3 * MIB)
        answer = put(running.port, b"y" * 3 * MIB)
        assert (answer.status, answer.json["code"]) == (503, "http.busy")
        assert wait_for(lambda: budget.used == 3 * MIB)
        first.send(b"x" * MIB)
        assert first.read().status == 200
        assert wait_for(lambda: budget.used == 0)


def test_connections_are_bounded() -> None:
    with service.threaded(connections=5) as running:
        held = [Raw(running.port) for _ in range(5)]
        assert wait_for(lambda: len(running.server.server_state.connections) == 5)
        with Raw(running.port) as raw:
            raw.send(request(running.port, "GET", "/healthz"))
            answer = raw.read()
            assert (answer.status, answer.json["code"]) == (503, "http.busy")
            assert "retry-after" in answer.headers
        held[0].send(request(running.port, "GET", "/healthz"))
        assert held[0].read().status == 200
        for raw in held:
            raw.socket.close()
        assert wait_for(lambda: not running.server.server_state.connections)
        assert ask(running.port, "GET", "/healthz").status == 200


def test_a_thousand_clients_at_once_get_an_answer() -> None:
    pool = service.StandIn(places=2, waiting=32)
    with service.threaded(Settings(queue=32), pool, connections=1200) as running:
        statuses = thousand(running.port, put_head(running.port, Content_Length="60000") + b"f" * 60_000)
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 34
        began = time.monotonic()
        assert put(running.port, b"film").status == 200
        assert wait_for(lambda: not running.server.server_state.connections, 5)
        assert time.monotonic() - began < 5
        assert running.app.state.service.budget.used == 0


def thousand(port: int, message: bytes) -> list[int]:
    """Let 1,000 clients send the same at once; return the status that each got, 0 for none."""
    picker, found = selectors.DefaultSelector(), []
    for _ in range(1000):
        client = socket.create_connection(("127.0.0.1", port))
        client.setblocking(False)
        picker.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, [message, b""])
    end = time.monotonic() + 30
    while picker.get_map() and time.monotonic() < end:
        for key, events in picker.select(1):
            client, data = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            if events & selectors.EVENT_READ:
                answer = client.recv(65536)
                data[1] += answer
                if b"\r\n\r\n" in data[1] or not answer:
                    found.append(int(data[1].split()[1]) if data[1] else 0)
                    picker.unregister(client)
                    client.close()
                    continue
            if events & selectors.EVENT_WRITE and data[0]:
                try:
                    data[0] = data[0][client.send(data[0]) :]
                except ConnectionError:
                    data[0] = b""
                if not data[0]:
                    picker.modify(client, selectors.EVENT_READ, data)
    return found


# Clients that go, and connections that stay


def test_a_film_of_a_client_that_goes_is_given_up() -> None:
    pool = service.StandIn()
    pool.open.clear()
    with service.threaded(pool=pool) as running:
        with Raw(running.port) as raw:
            raw.send(put_head(running.port, Content_Length="4") + b"film")
            assert wait_for(lambda: pool.inside == 1)
        assert wait_for(lambda: pool.given_up == 1 and pool.inside == 0)
        with Raw(running.port) as raw:
            raw.send(put_head(running.port, Content_Length="400") + b"film")
            time.sleep(0.1)
        assert wait_for(lambda: running.app.state.service.budget.used == 0)
        pool.open.set()
        text = ask(running.port, "GET", "/metrics").body.decode()
        assert 'code="client_gone",method="PUT",route="/v1/classify",status="499"} 2.0' in text


def test_requests_in_a_row_are_answered_in_a_row(small: Any) -> None:
    with Raw(small.port) as raw:
        film = request(small.port, "PUT", "/v1/classify", b"film", {"Content-Type": "image/png"})
        bad = request(small.port, "PUT", "/v1/classify", b"bad", {"Content-Type": "image/png"})
        raw.send(film + request(small.port, "GET", "/healthz") + bad + film)
        assert [raw.read().status for _ in range(4)] == [200, 200, 422, 200]


def test_a_body_that_nobody_reads_ends_the_connection(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(request(small.port, "GET", "/healthz", b"x" * MIB))
        answer = raw.read()
        assert (answer.status, answer.closed) == (200, True)
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.ended()


def test_to_continue_is_said_only_if_the_body_is_wanted(small: Any) -> None:
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length="4", Expect="100-continue"))
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 100")
        raw.send(b"film")
        assert raw.read().status == 200
    with Raw(small.port) as raw:
        raw.send(put_head(small.port, Content_Length="4000000", Expect="100-continue"))
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 413")


# Hosts and origins


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:65535", 200), ("[::1]:80", 200), ("evil.example", 421),
        ("127.0.0.1.evil.example", 421), ("localhost@evil.example", 421), ("localhost:80:80", 421), ("", 421),
        ("10.0.0.1", 421), ("[::1", 421), ("localhost:x", 421), ("mine.example:7", 200), ("[::1]x", 421),
    ],
)  # fmt: skip
def test_only_known_hosts_are_served(host: str, status: int) -> None:
    settings = Settings(hosts=frozenset({"mine.example"}))
    assert settings.knows(host) is (status == 200)
    assert Settings(any_address=True).knows("10.0.0.1:80")
    assert not Settings(any_address=True).knows("evil.example")
    assert host_name("[fe80::1]:8") == "fe80::1"


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/v1/model", {"Origin": "http://evil.example"}, 403),
        ("/v1/model", {"Origin": "null"}, 403),
        ("/v1/model", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/v1/model", {"Sec-Fetch-Site": "same-site"}, 403),
        ("/metrics", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/v1/model", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("/v1/model", {"Sec-Fetch-Site": "none"}, 200),
        ("/v1/model", {"Host": "evil.example"}, 421),
        ("/", {"Host": "evil.example"}, 421),
    ],
)
def test_other_sites_get_nothing(small: Any, target: str, fields: dict[str, str], status: int) -> None:
    answer = ask(small.port, "GET", target, None, fields)
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("target", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "fields",
    [
        b"HTTP/1.1\r\nHost: 10.42.0.7:8800", b"HTTP/1.1\r\nHost: [fd00::7]:8800", b"HTTP/1.1\r\nHost: pod.svc.local",
        b"HTTP/1.1\r\nHost: ", b"HTTP/1.0\r\nUser-Agent: probe", b"HTTP/1.0\r\nHost: 10.42.0.7",
    ],
)  # fmt: skip
def test_a_probe_may_name_any_host(small: Any, target: str, method: str, fields: bytes) -> None:
    with Raw(small.port) as raw:
        raw.send(f"{method} {target} ".encode() + fields + b"\r\nConnection: close\r\n\r\n")
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 200")
    with Raw(small.port) as raw:
        raw.send(f"{method} /v1/model ".encode() + fields + b"\r\nConnection: close\r\n\r\n")
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 421")


def test_every_code_has_a_remedy() -> None:
    assert all(refused(code, title).remedy for code, (_, title, _) in HTTP_CODES.items())


def test_the_own_origin_is_served(small: Any) -> None:
    assert (
        ask(small.port, "GET", "/v1/model", None, {"Origin": f"http://127.0.0.1:{small.port}"}).status == 200
    )
    assert ask(small.port, "GET", "/v1/model", None, {"Origin": "http://127.0.0.1:1"}).status == 403


def test_every_answer_is_dressed(small: Any) -> None:
    for answer in (
        ask(small.port, "GET", "/healthz"), ask(small.port, "GET", "/nothing"), put(small.port, b"film"),
        put(small.port, b"bad"), ask(small.port, "DELETE", "/v1/model"),
    ):  # fmt: skip
        for name in (
            "content-security-policy",
            "referrer-policy",
            "cross-origin-opener-policy",
            "permissions-policy",
        ):
            assert answer.headers[name]
        assert answer.headers["cache-control"] == "no-store"
        assert not {"server", "date", "set-cookie"} & set(answer.headers)


# Faults and starts


def test_a_fault_is_an_answer_without_its_words(
    small: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ValueError("Mustermann")

    monkeypatch.setattr(small.pool, "read", fail)
    with caplog.at_level("INFO", "pneumoscan.web"):
        answer = put(small.port, b"film")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert b"Mustermann" not in answer.body
    assert "fault ValueError at test_service_limits.py" in caplog.text
    assert "Mustermann" not in caplog.text


def test_a_film_waits_for_the_first_worker_but_not_for_ever() -> None:
    pool = service.StandIn()
    pool.ready = False
    with service.threaded(SMALL, pool) as running:
        answer = ask(running.port, "GET", "/readyz")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert ask(running.port, "GET", "/healthz").status == 200
        assert put(running.port, b"film").json["code"] == "http.busy"
        threading.Timer(0.2, lambda: setattr(pool, "ready", True)).start()
        assert put(running.port, b"film").status == 200


def test_a_service_that_stops_refuses_and_finishes() -> None:
    pool = service.StandIn()
    pool.open.clear()
    with service.threaded(pool=pool) as running, Raw(running.port) as going, Raw(running.port) as late:
        going.send(put_head(running.port, Content_Length="4") + b"film")
        assert wait_for(lambda: pool.inside == 1)
        running.app.state.service.state.stopping = True
        late.send(put_head(running.port, Content_Length="4") + b"film")
        answer = late.read()
        assert (answer.status, answer.json["code"]) == (503, "http.stopping")
        assert ask(running.port, "GET", "/readyz").status == 503
        assert ask(running.port, "GET", "/healthz").status == 200
        pool.open.set()
        assert going.read().status == 200


def test_what_is_not_finished_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = service.StandIn()
    pool.open.clear()
    with service.threaded(pool=pool, grace=1) as running, Raw(running.port) as going:
        going.send(put_head(running.port, Content_Length="4") + b"film")
        assert wait_for(lambda: pool.inside == 1)
        running.app.state.service.state.stopping = True
        running.server.should_exit = True
        answer = going.read()
        assert (answer.status, answer.json["code"]) == (503, "http.stopping")
