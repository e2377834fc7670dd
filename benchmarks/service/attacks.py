"""Malicious or invalid requests, each with its allowed responses.

A response is written as `STATUS code`, with the code of the problem document; `closed` is a connection that ends without a
response. All other responses are wrong, in particular a 5xx other than 503, an error without a code, and no response.
"""

import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.service.client import BOUNDARY, Answer, BrokenError, Connection, Service, form, get, head, put

RAW = "application/octet-stream"
CLASSIFY = "/v1/classify"
MANY = 2 << 30
# Data after a request with a wrong length may be cut off or refused.
MALFORMED = frozenset({"400 http.malformed", "400 http.length", "411 http.length"})
_PATIENCE = 30.0

Play = Callable[[Service, bytes], Answer | None]


@dataclass(frozen=True)
class Attack:
    """A bad request.

    Attributes:
        name: Name in the records.
        play: Sends the request, with a good film if needed; returns the first response, None for a closed connection.
        allowed: The allowed responses.
        slow: Whether it waits for a time limit of the service.
    """

    name: str
    play: Play
    allowed: frozenset[str]
    slow: bool = False


def outcome(answer: Answer | None) -> str:
    """Return `STATUS code` of an answer; `untyped` if an error is not a problem document."""
    if answer is None:
        return "closed"
    if answer.status < 400:
        return str(answer.status)
    try:
        problem = answer.json()
        typed = answer.header("content-type").startswith("application/problem+json")
        whole = {"type", "title", "status", "detail", "code"} <= set(problem)
        code = problem["code"] if typed and whole and problem["status"] == answer.status else "untyped"
    except (ValueError, TypeError, KeyError):
        code = "untyped"
    return f"{answer.status} {code}"


def first_answer(connection: Connection) -> Answer | None:
    """Return the response; None if the connection ends without one."""
    try:
        return connection.answer()
    except BrokenError as problem:
        if "timed out" in str(problem):
            raise
        return None


def sent(*pieces: bytes) -> Play:
    """Return an attack that sends these bytes and waits for the response."""

    def play(service: Service, _film: bytes) -> Answer | None:
        with service.connect(timeout=_PATIENCE) as connection:
            connection.send(list(pieces))
            return first_answer(connection)

    return play


def of_film(pieces: Callable[[bytes], list[bytes]]) -> Play:
    """Return an attack with a good film."""
    return lambda service, film: sent(*pieces(film))(service, film)


def changed(**headers: object) -> Play:
    """Return a PUT of a good film with other headers; `None` leaves one out, `_` stands for `-`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    def pieces(film: bytes) -> list[bytes]:
        usual = {"Content-Type": RAW, "Content-Length": len(film)}
        return [head("PUT", CLASSIFY, {**usual, **given}), film]

    return of_film(pieces)


def asked(method: str, target: str, **headers: object) -> Play:
    """Return a request without a body."""
    return sent(head(method, target, {name.replace("_", "-"): value for name, value in headers.items()}))


def queried(query: str) -> Play:
    """Return a PUT of a good film with a query."""
    return of_film(lambda film: put(film, f"{CLASSIFY}?{query}"))


# Lengths


def longer(service: Service, film: bytes) -> Answer | None:
    """Declare a thousand bytes more than are sent, and end the sending side."""
    with service.connect(timeout=_PATIENCE) as connection:
        connection.send([_claim(len(film) + 1000), film])
        connection.socket.shutdown(socket.SHUT_WR)
        return first_answer(connection)


def longer_and_waiting(service: Service, film: bytes) -> Answer | None:
    """Declare a thousand bytes more than are sent, and wait."""
    return sent(_claim(len(film) + 1000), film)(service, film)


def shorter(service: Service, film: bytes) -> Answer | None:
    """Declare half of the bytes that are sent; the other half is in the place of the next request."""
    return sent(_claim(len(film) // 2), film)(service, film)


def _claim(length: object) -> bytes:
    return head("PUT", CLASSIFY, {"Content-Type": RAW, "Content-Length": length})


def two_gigabytes(service: Service, film: bytes) -> Answer | None:
    """Declare 2 GiB, and send until the service responds."""
    return _poured(service, _claim(MANY), lambda: film)


def two_gigabytes_in_chunks(service: Service, film: bytes) -> Answer | None:
    """Send 2 GiB in chunks without a length."""
    start = head("PUT", CLASSIFY, {"Content-Type": RAW, "Transfer-Encoding": "chunked"})
    piece = film[:1000] * 260
    return _poured(service, start, lambda: b"%x\r\n%b\r\n" % (len(piece), piece))


def _poured(service: Service, start: bytes, piece: Callable[[], bytes]) -> Answer | None:
    """Send pieces until 2 GiB are sent, a response arrives, or the connection ends."""
    with service.connect(timeout=_PATIENCE) as connection:
        connection.send([start])
        body, gone = piece(), 0
        connection.socket.setblocking(False)
        ended = time.monotonic() + _PATIENCE
        while gone < MANY and time.monotonic() < ended:
            try:
                if connection.socket.recv(1, socket.MSG_PEEK):
                    break
                return None
            except BlockingIOError:
                pass
            except ConnectionError:
                return None
            connection.socket.settimeout(0.2)
            try:
                connection.socket.sendall(body)
                gone += len(body)
            except TimeoutError:
                break  # a part was sent, so nothing meaningful can follow
            except ConnectionError:
                break
            connection.socket.setblocking(False)
        connection.socket.settimeout(_PATIENCE)
        return first_answer(connection)


# Time


def stalled(service: Service, film: bytes) -> Answer | None:
    """Send only half of the body."""
    return sent(_claim(len(film)), film[: len(film) // 2])(service, film)


def stalled_head(service: Service, film: bytes) -> Answer | None:
    """Send only half of a header."""
    return sent(_claim(len(film))[:40])(service, film)


def dripping_head(service: Service, film: bytes) -> Answer | None:
    """Send a header, one byte every quarter of a second."""
    return _dripped(service, b"", _claim(len(film)) + b"X" * 400, 0.25)


def dripping_body(service: Service, film: bytes) -> Answer | None:
    """Send a body, one byte per second; the limit of the whole body must end it."""
    return _dripped(service, _claim(len(film)), film, 1.0, patience=150)


def _dripped(
    service: Service, start: bytes, rest: bytes, pause: float, patience: float = 40
) -> Answer | None:
    with service.connect(timeout=patience) as connection:
        connection.send([start] if start else [])
        connection.socket.settimeout(pause)
        ended = time.monotonic() + patience
        for at in range(len(rest)):
            try:
                connection.socket.sendall(rest[at : at + 1])
                if not connection.socket.recv(1, socket.MSG_PEEK):
                    return None
                break
            except TimeoutError:
                if time.monotonic() > ended:
                    raise BrokenError("timed out: still taken byte by byte") from None
            except ConnectionError:
                return None
        connection.socket.settimeout(5)
        return first_answer(connection)


# Leaving


def left_in_the_middle(service: Service, film: bytes) -> Answer | None:
    """Send half of the body and close."""
    with service.connect() as connection:
        connection.send([_claim(len(film)), film[: len(film) // 2]])


def left_before_the_answer(service: Service, film: bytes) -> Answer | None:
    """Send a whole film and close at once."""
    with service.connect() as connection:
        connection.send(put(film))


def reset_before_the_answer(service: Service, film: bytes) -> Answer | None:
    """Send a whole film and reset the connection."""
    with service.connect() as connection:
        connection.send(put(film))
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


# Forms


def form_of(body: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY.decode()}") -> Play:
    """Return a POST of this body as a form."""
    return sent(head("POST", CLASSIFY, {"Content-Type": kind, "Content-Length": len(body)}), body)


def _part(name: str, value: bytes, extra: str = "") -> bytes:
    about = f'\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return b"--" + BOUNDARY + about.encode() + value + b"\r\n"


_END = b"--" + BOUNDARY + b"--\r\n"


def two_films(film: bytes) -> list[bytes]:
    """Return a form with two films."""
    body = _part("film", film, '; filename="a"') + _part("film", film, '; filename="b"') + _END
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return [head("POST", CLASSIFY, {"Content-Type": kind, "Content-Length": len(body)}), body]


def wordy(count: int, size: int) -> bytes:
    """Return a request with so many headers of so many bytes."""
    return head("GET", "/healthz", {f"X-{number}": "a" * size for number in range(count)})


def smuggled(first: str) -> bytes:
    """Return a request with two lengths, and a request hidden in the rest that one of them leaves."""
    hidden = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return (
        f"POST {CLASSIFY} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {RAW}\r\n{first}\r\n\r\n0\r\n\r\n{hidden}"
    ).encode()


def typed(*codes: str) -> frozenset[str]:
    """Return the allowed answers."""
    return frozenset(codes)


def attacks() -> list[Attack]:
    """Return all attacks."""
    return [*_heads(), *_bodies(), *_times(), *_protocol()]


def _heads() -> Iterator[Attack]:
    media, usage, token = typed("415 http.media_type"), typed("400 usage", "400 config"), "127.0.0.1"
    long_head = MALFORMED | typed("431 http.header")
    yield Attack("a type that is no film", changed(Content_Type="text/html"), media)
    yield Attack("no type", changed(Content_Type=None), media)
    yield Attack("an endless type", changed(Content_Type="image/jpeg;" + "a=b;" * 500), media | typed("200"))
    yield Attack("gzip", changed(Content_Encoding="gzip"), typed("415 http.content_encoding"))
    yield Attack(
        "gzip, identity", changed(Content_Encoding="identity, gzip"), typed("415 http.content_encoding")
    )
    yield Attack("another host", changed(Host="evil.example"), typed("421 http.host"))
    yield Attack("a host that is none", changed(Host="a b\\c"), typed("421 http.host") | MALFORMED)
    yield Attack("no host", changed(Host=None), typed("421 http.host") | MALFORMED)
    yield Attack("two hosts", changed(HOST="evil.example"), typed("421 http.host") | MALFORMED)
    yield Attack("another origin", changed(Origin="https://evil.example"), typed("403 http.origin"))
    yield Attack("no origin", changed(Origin="null"), typed("403 http.origin"))
    yield Attack(
        "a preflight", asked("OPTIONS", CLASSIFY, Origin="https://evil.example"), typed("403 http.origin")
    )
    yield Attack("a URL of 20 kB", asked("GET", "/" + "a" * 20_000), long_head | typed("404 http.not_found"))
    yield Attack("a header of 100 kB", sent(wordy(1, 100_000)), long_head)
    yield Attack("a thousand headers", sent(wordy(1000, 40)), long_head)
    for query in (
        "threshold=nan", "threshold=2", "threshold=-1e-9", "threshold=", "threshold=0x1", "threshold=1&threshold=0",
        "operating_point=nothing", "threshold=0.5&operating_point=balanced", "include=passwords", "heatmap=gif",
        "heatmap=png&include=heatmap", "operating_point=%0d%0aX-Bad:1", "threshold=%F0%28",
    ):  # fmt: skip
        yield Attack(f"?{query}", queried(query), usage)
    yield Attack("a method that is not there", asked("DELETE", CLASSIFY), typed("405 http.method"))
    yield Attack("TRACE", asked("TRACE", "/"), typed("405 http.method"))
    yield Attack("an unknown path", asked("GET", "/v2/classify"), typed("404 http.not_found"))
    for path in (
        "/page/../../../../etc/passwd",
        "/page/..%2f..%2fetc%2fpasswd",
        "/page/%00",
        "/page//etc/passwd",
    ):
        yield Attack(path, asked("GET", path), typed("404 http.not_found"))
    yield Attack("another host in the target", asked("GET", "http://evil.example/healthz"), typed(
        "421 http.host", "404 http.not_found", "400 http.malformed", "200"
    ))  # fmt: skip
    yield Attack(
        "a tunnel",
        asked("CONNECT", f"{token}:22"),
        typed("405 http.method", "404 http.not_found") | MALFORMED,
    )
    websocket = asked("GET", "/", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Key="AAAA")
    yield Attack("a web socket", websocket, typed("200", "400 http.malformed", "426 http.malformed"))


def _bodies() -> Iterator[Attack]:
    large = typed("413 film.too_large")
    yield Attack("an empty body", changed(Content_Length=0), typed("422 film.empty", *MALFORMED))
    yield Attack("a longer length", longer, MALFORMED | typed("closed"))
    yield Attack("a shorter length", shorter, typed("422 film.truncated", "422 film.damaged"))
    yield Attack("2 GiB, declared", two_gigabytes, large)
    yield Attack("2 GiB, in chunks", two_gigabytes_in_chunks, large)
    yield Attack("2 GiB, declared, with 100-continue", sent(head("PUT", CLASSIFY, {
        "Content-Type": RAW, "Content-Length": MANY, "Expect": "100-continue"
    })), large)  # fmt: skip
    yield Attack("left in the middle", left_in_the_middle, typed("closed"))
    yield Attack("left before the answer", left_before_the_answer, typed("closed"))
    yield Attack("reset before the answer", reset_before_the_answer, typed("closed"))
    usage = typed("400 usage")
    no_boundary = form_of(_END, "multipart/form-data")
    yield Attack("a form without a boundary", no_boundary, usage | typed("415 http.media_type"))
    yield Attack("a form of garbage", form_of(b"garbage" * 1000), usage)
    yield Attack("an empty form", form_of(_END), usage)
    yield Attack("a form without an end", form_of(_part("film", b"abc", '; filename="a"')), usage)
    yield Attack("a form without a film", form_of(_part("movie", b"abc", '; filename="a"') + _END), usage)
    yield Attack("a form of two films", of_film(two_films), usage)
    yield Attack("a form of 10,000 parts", form_of(_part("x", b"1") * 10_000 + _END), usage | large)
    huge = _part("film", b"abc", "; filename=" + "a" * 200_000) + _END
    yield Attack("a form with a head of 200 kB", form_of(huge), usage | large)
    yield Attack(
        "a form with an endless boundary", form_of(_END, "multipart/form-data; boundary=" + "b" * 3000), usage
    )
    yield Attack("a form with a bad charset", form_of(_part("film", b"abc", "; filename*=utf-99''%ff") + _END),
                 usage | typed("415 film.format"))  # fmt: skip
    yield Attack(
        "a film named as a path",
        of_film(lambda film: form(film, filename="../../../etc/passwd")),
        typed("200"),
    )


def _times() -> Iterator[Attack]:
    late = typed("408 http.timeout")
    yield Attack("a longer length, waiting", longer_and_waiting, late, slow=True)
    yield Attack("a body that stops", stalled, late, slow=True)
    yield Attack("a head that stops", stalled_head, late | typed("closed"), slow=True)
    yield Attack("a head byte by byte", dripping_head, late | typed("closed"), slow=True)


def dripping() -> Attack:
    """Return the one attack that waits for the limit of a whole body, two minutes."""
    return Attack("a body byte by byte", dripping_body, typed("408 http.timeout", "closed"), slow=True)


def _protocol() -> Iterator[Attack]:
    for name, data in (
        ("garbage", random.Random(0).randbytes(3000) + b"\r\n\r\n"),
        ("zeros", bytes(3000)),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("no method", b" / HTTP/1.1\r\n\r\n"),
        ("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n"),
        ("a NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        ("a folded header", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n c\r\n\0\r\n\r\n"),
        ("a NUL in a header", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \0\r\n\r\n"),
        ("a space before the colon", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX : a\r\n\r\n"),
        ("two lengths", smuggled("Content-Length: 5\r\nContent-Length: 50")),
        ("two lengths in one", smuggled("Content-Length: 5, 50")),
        ("a negative length", smuggled("Content-Length: -5")),
        ("a length with a sign", smuggled("Content-Length: +5")),
        ("a length that is none", smuggled("Content-Length: five")),
        ("an unknown coding", smuggled("Transfer-Encoding: gzip, chunked")),
        ("a disguised coding", smuggled("Transfer-Encoding: xchunked")),
        ("two codings", smuggled("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        ("bad chunks", smuggled("Transfer-Encoding: chunked").replace(b"0\r\n\r\n", b"zz\r\nabc\r\n")),
        ("negative chunks", smuggled("Transfer-Encoding: chunked").replace(b"0\r\n\r\n", b"-1\r\nabc\r\n")),
        (
            "endless chunks",
            smuggled("Transfer-Encoding: chunked").replace(b"0\r\n\r\n", b"f" * 40 + b"\r\nabc\r\n"),
        ),
    ):
        yield Attack(name, alone(data), MALFORMED)
    yield Attack("a length of thirty digits", sent(_claim(10**30)), MALFORMED | typed("413 film.too_large"))
    both = smuggled("Content-Length: 5\r\nTransfer-Encoding: chunked")
    yield Attack("a length and chunks", alone(both), MALFORMED)


def alone(data: bytes) -> Play:
    """Return an attack after which the connection must end: a hidden request must get no answer of its own."""

    def play(service: Service, _film: bytes) -> Answer | None:
        with service.connect(timeout=_PATIENCE) as connection:
            connection.send([data])
            first = first_answer(connection)
            if first is not None and first_answer(connection) is not None:
                raise AssertionError("a request that was hidden in another was answered")
            return first

    return play


def health(service: Service) -> Answer:
    """Request `/healthz`."""
    return service.ask(get("/healthz"))
