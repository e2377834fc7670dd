"""The service as it is run: `pneumoscan serve` in a process, with workers and a tiny bundle."""

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import live_service as service
import pytest
from tiny_bundle import write_tiny_bundle

from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.rows import COLUMNS
from pneumoscan.verdicts import VerdictFile
from pneumoscan.web.app import PAGE

ask, put = service.ask, service.put


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("service")
    write_tiny_bundle(path / "bundle")
    return path


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Any]:
    with service.live(folder, "--model", str(folder / "bundle"), "--workers", "2") as running:
        yield running


@pytest.fixture
def film(draw_film: Any) -> bytes:
    return service.jpeg(draw_film())


def test_a_film_has_the_row_of_predict(live: Any, folder: Path, film: bytes) -> None:
    expected = predict_one(load_bundle(folder / "bundle"), film, 0.5).to_json()
    answer = put(live.port, film)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    row = answer.json
    assert {name: row[name] for name in COLUMNS} == expected
    assert row["width"] == 140
    assert (row["format"], row["distance"], len(row["sha256"])) == ("JPEG", None, 64)


def test_threshold_and_operating_point_are_used(live: Any, film: bytes) -> None:
    assert put(live.port, film, "?operating_point=sensitive").json["threshold"] == 0.3
    assert put(live.port, film, "?threshold=0.125").json["threshold"] == 0.125


@pytest.mark.parametrize(
    "query",
    [
        "?threshold=nan", "?threshold=1.5", "?threshold=-0", "?threshold=1_0", "?threshold=", "?threshold=inf",
        "?threshold=0.5&operating_point=balanced", "?operating_point=none", "?unknown=1", "?threshold=0.1&threshold=0.2",
        "?include=", "?include=all", "?include=heatmap,heatmap", "?heatmap=jpeg", "?heatmap=png&include=heatmap", "?&&=",
        "?a", "?threshold=%ff", "?threshold=%D9%A1",
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(live: Any, film: bytes, query: str) -> None:
    answer = put(live.port, film, query)
    if query == "?threshold=-0":
        assert answer.status == 200
        return
    assert (answer.status, answer.json["code"]) == (400, "config" if "=none" in query else "usage")


def test_pictures_come_with_the_row_or_instead_of_it(live: Any, film: bytes) -> None:
    answer = put(live.port, film, "?heatmap=png")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body.startswith(b"\x89PNG")
    row = json.loads(answer.headers["pneumoscan-row"])
    both = put(live.port, film, "?include=heatmap,picture").json
    assert base64.b64decode(both["heatmap"]["data"]) == answer.body
    assert base64.b64decode(both["picture"]["data"]).startswith(b"\x89PNG")
    assert {name: both[name] for name in row} == row


def form(film: bytes, name: str = "film", file_name: str = "secret.jpeg", extra: bytes = b"") -> bytes:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
    return (head + "Content-Type: image/jpeg\r\n\r\n").encode() + film + b"\r\n" + extra + b"--xyz--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=xyz"}


def test_a_form_gets_the_same_row(live: Any, film: bytes) -> None:
    answer = ask(live.port, "POST", "/v1/classify", form(film, file_name="../../etc/passwd"), FORM)
    assert answer.json == put(live.port, film).json


@pytest.mark.parametrize(
    "body",
    [
        form(b"x", name="other"),
        form(b"x", extra=b'--xyz\r\nContent-Disposition: form-data; name="film"\r\n\r\ny\r\n'),
        form(b"x")[:-9],
        b'--xyz\r\nContent-Disposition: form-data; name="film"\r\n\r\nx\r\n--xyz--\r\n',
        b"",
        b"no form at all",
        b"--xyz\r\n" + b"A: b\r\n" * 20 + b"\r\nx\r\n--xyz--\r\n",
        b"--xyz\r\nContent-Disposition: form-data; name=film; filename=a; x="
        + b"y" * 9000
        + b"\r\n\r\nx\r\n--xyz--\r\n",
        b"--xyz\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=film\r\n\r\nx\r\n--xyz--",
    ],
)
def test_a_form_that_is_none_is_refused(live: Any, body: bytes) -> None:
    answer = ask(live.port, "POST", "/v1/classify", body, FORM)
    assert (answer.status, answer.json["code"]) == (400, "usage")


@pytest.mark.parametrize("parameter", ["", '; boundary=""', "; boundary=" + 71 * "x", '; boundary="x\\"y"'])
def test_a_legal_boundary_is_needed(live: Any, parameter: str) -> None:
    kind = {"Content-Type": f"multipart/form-data{parameter}"}
    answer = ask(live.port, "POST", "/v1/classify", b"x", kind)
    assert (answer.status, answer.json["code"]) == (400, "usage")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "film.empty"),
        (b"hello, I am no picture", 415, "film.format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, 422, "film.damaged"),
    ],
)
def test_a_film_that_is_none_gets_its_code(live: Any, body: bytes, status: int, code: str) -> None:
    answer = put(live.port, body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["status"] == status
    assert answer.json["detail"]


def test_a_truncated_film_is_no_answer(live: Any, film: bytes) -> None:
    answer = put(live.port, film[: len(film) // 2])
    assert (answer.status, answer.json["code"]) == (422, "film.truncated")


@pytest.mark.parametrize(
    "name", ["filename*=UTF-8''R%C3%B6ntgen.jpeg", "FileName*0*=UTF-8''R; FileName*1=x.jpeg"]
)
def test_a_form_may_have_the_extended_file_name_alone(live: Any, film: bytes, name: str) -> None:
    head = f'--xyz\r\nContent-Disposition: form-data; name="film"; {name}\r\n\r\n'.encode()
    answer = ask(live.port, "POST", "/v1/classify", head + film + b"\r\n--xyz--\r\n", FORM)
    assert answer.json == put(live.port, film).json


def test_the_page_is_a_table_of_files(live: Any) -> None:
    index = ask(live.port, "GET", "/")
    if not (PAGE / "index.html").is_file():
        assert index.status == 404
        return
    assert index.body == (PAGE / "index.html").read_bytes()
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert index.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in index.headers["content-security-policy"]
    again = ask(live.port, "GET", "/", None, {"If-None-Match": f'"x", W/{index.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    for path in PAGE.rglob("*.js"):
        answer = ask(live.port, "GET", f"/page/{path.relative_to(PAGE).as_posix()}")
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.body == path.read_bytes()


@pytest.mark.parametrize(
    "target",
    ["/page/../app.py", "/page/%2e%2e%2fapp.py", "/page/..%5capp.py", "/page/", "/page/x/y", "/v1", "/v1/classify/", "//",
     "/page/%00", "/page/panels", "/page/panels/../main.js", "/page/panels/%2e%2e/index.html", "http://127.0.0.1/healthz"],
)  # fmt: skip
def test_no_path_reaches_the_files(live: Any, target: str) -> None:
    answer = ask(live.port, "GET", target)
    assert (answer.status, answer.json["code"]) == (404, "http.not_found")


def test_the_small_addresses(live: Any) -> None:
    assert ask(live.port, "GET", "/healthz").json == {"status": "ok"}
    assert ask(live.port, "GET", "/readyz").json == {"status": "ready"}
    assert ask(live.port, "GET", "/v1/model").json["name"] == "tiny"
    assert ask(live.port, "GET", "/v1/node").json == {"node": None}
    head = ask(live.port, "HEAD", "/v1/model")
    assert head.status == 200
    assert int(head.headers["content-length"]) == len(ask(live.port, "GET", "/v1/model").body)
    assert ask(live.port, "GET", "/openapi.json").json["openapi"].startswith("3.1")


def test_methods_are_told(live: Any) -> None:
    answer = ask(live.port, "GET", "/v1/classify")
    assert (answer.status, answer.json["code"], answer.headers["allow"]) == (405, "http.method", "POST, PUT")
    for method in ("OPTIONS", "DELETE", "TRACE", "FOO"):
        answer = ask(live.port, method, "/v1/classify", b"x")
        assert answer.status == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_metrics_count_what_was_done(live: Any, film: bytes) -> None:
    def value(name: str) -> float:
        text = ask(live.port, "GET", "/metrics").body.decode()
        found = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    before = value('pneumoscan_films_total{code="",label="')
    put(live.port, film)
    put(live.port, b"text")
    assert value('pneumoscan_films_total{code="",label="') == before + 1
    assert value('pneumoscan_films_total{code="film.format",label=""}') >= 1
    assert (
        value('pneumoscan_requests_total{code="film.format",method="PUT",route="/v1/classify",status="415"}')
        >= 1
    )
    assert value("pneumoscan_ready") == 1
    assert value("pneumoscan_body_bytes") == 0
    assert value("pneumoscan_build_info") == 1
    assert "script" not in ask(live.port, "GET", "/metrics").body.decode()
    ask(live.port, "SCRIPT", "/script?script", None, {"Script": "script"})
    assert "script" not in ask(live.port, "GET", "/metrics").body.decode().lower()


def test_the_log_names_nobody(live: Any, film: bytes) -> None:
    secret = "Mustermann"
    ask(live.port, "POST", "/v1/classify", form(film, file_name=f"{secret}.jpeg"), FORM)
    ask(live.port, "POST", "/v1/classify", form(film, name=secret), FORM)
    ask(live.port, "GET", f"/{secret}?{secret}={secret}", None, {"X-Name": secret, "Referer": secret})
    ask(live.port, secret.upper(), "/")
    put(live.port, film, f"?operating_point={secret}")
    with service.Raw(live.port) as raw:
        raw.send(f"{secret}\r\n\r\n".encode())
        assert raw.read().status == 400
    digest = put(live.port, film).json["sha256"][:12]
    lines = ("PUT /v1/classify 200 ok", digest, "GET other 404 http.not_found")
    assert service.wait_for(lambda: all(line in live.log.read_text() for line in lines))
    assert secret.lower() not in live.log.read_text().lower()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(folder: Path, film: bytes, number: int) -> None:
    with (
        service.live(folder, "--model", str(folder / "bundle"), "--workers", "1") as running,
        service.Raw(running.port) as slow,
        service.Raw(running.port) as idle,
        ThreadPoolExecutor(8) as threads,
    ):
        head = service.request(running.port, "PUT", "/v1/classify", film, {"Content-Type": "image/jpeg"})
        slow.send(head[:-10])
        time.sleep(0.2)
        going = [threads.submit(put, running.port, film) for _ in range(8)]
        time.sleep(0.05)
        began = time.monotonic()
        running.process.send_signal(number)
        time.sleep(0.3)
        slow.send(head[-10:])
        assert slow.read().status == 200
        assert idle.ended()
        assert running.process.wait(15) == 0
        assert time.monotonic() - began < 10
        statuses = {outcome(task) for task in going}
        assert statuses <= {200, 503, None}
        text = running.log.read_text()
        assert "Traceback" not in text
        assert "fault" not in text


def outcome(task: Any) -> int | None:
    """Return the status, or None if the connection was refused: the listener was closed."""
    try:
        return int(task.result().status)
    except (ConnectionError, AssertionError):
        return None


@pytest.mark.slow
def test_a_client_that_dawdles_does_not_hold_the_stop_up(folder: Path, film: bytes) -> None:
    with (
        service.live(folder, "--model", str(folder / "bundle"), "--workers", "1") as running,
        service.Raw(running.port) as slow,
    ):
        slow.send(
            service.request(running.port, "PUT", "/v1/classify", film, {"Content-Type": "image/jpeg"})[:-10]
        )
        time.sleep(0.2)
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 10
        answer = slow.read()
        assert (answer.status, answer.json["code"]) == (503, "http.stopping")
        assert "Traceback" not in running.log.read_text()


def test_a_second_signal_stops_it_at_once(folder: Path, film: bytes) -> None:
    with (
        service.live(folder, "--model", str(folder / "bundle"), "--workers", "1") as running,
        service.Raw(running.port) as slow,
    ):
        slow.send(
            service.request(running.port, "PUT", "/v1/classify", film, {"Content-Type": "image/jpeg"})[:-10]
        )
        time.sleep(0.2)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert running.process.poll() is None
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 2
        assert "Traceback" not in running.log.read_text()


def test_a_model_that_does_not_load_ends_it(folder: Path) -> None:
    broken = folder / "broken"
    broken.mkdir()
    for path in (folder / "bundle").iterdir():
        data = path.read_bytes()
        (broken / path.name).write_bytes(data[:-1] + b"?" if path.name == "model.onnx" else data)
    with service.live(folder, "--model", str(broken), wait=False) as running:
        assert running.process.wait(30) == 5
        text = running.log.read_text()
        assert "error [model.bundle]" in text
        assert "Traceback" not in text


# What the command line refuses


def test_the_page_is_opened_only_where_somebody_can_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from pneumoscan.cli.serve import _announce

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for display, terminal, wanted in (
        ("", True, True),
        (":0", False, True),
        (":0", True, False),
        (":0", True, True),
    ):
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal, raising=False)
        _announce("http://127.0.0.1:1/", wanted)
        if display and terminal and wanted:
            assert service.wait_for(lambda: opened)
        else:
            time.sleep(0.05)
            assert not opened


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from pneumoscan.cli import app
    from pneumoscan.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "starlette", None)
    problem = CliRunner().invoke(app, ["serve", "--no-open"]).exception
    assert isinstance(problem, MissingDependencyError)
    assert "starlette" in problem.message
    assert "pneumoscan[web]" in problem.remedy


def serve(*options: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    import os

    command = [sys.executable, "-m", "pneumoscan", "serve", "--port", "0", "--no-open", *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, env={**os.environ, **(env or {})}
    )


def test_another_address_needs_a_token(folder: Path) -> None:
    done = serve("--host", "0.0.0.0", "--model", str(folder / "bundle"))
    assert done.returncode == 2
    assert "secrets.token_urlsafe" in done.stderr
    assert "TLS" in done.stderr
    assert "docs/web.md" in done.stderr


@pytest.mark.parametrize("token", ["short", "", "with a space in the middle", "ümlaut-ümlaut-ümlaut"])
def test_a_token_must_be_one(folder: Path, token: str) -> None:
    path = folder / "bad-token"
    path.write_text(token + "\n", encoding="utf-8")
    done = serve("--token-file", str(path), "--model", str(folder / "bundle"))
    assert done.returncode == 2
    assert "contains no token" in done.stderr


def test_a_taken_port_is_told(live: Any, folder: Path) -> None:
    done = serve("--port", str(live.port), "--model", str(folder / "bundle"))
    assert (done.returncode, "cannot be bound" in done.stderr) == (2, True)
    done = serve("--host", "no.such.name.invalid", "--model", str(folder / "bundle"))
    assert (done.returncode, "there is no address" in done.stderr) == (2, True)


def test_a_token_is_asked_for(folder: Path, film: bytes) -> None:
    path = folder / "token"
    path.write_text("abcdefghijklmnopqrstuvwxyz\n")
    path.chmod(0o644)
    options = ("--host", "0.0.0.0", "--token-file", str(path), "--allow-host", "Reading.Example")
    with service.live(folder, "--model", str(folder / "bundle"), "--workers", "1", *options) as running:
        assert "other users can read" in running.log.read_text()
        for target in ("/v1/model", "/metrics", "/openapi.json"):
            answer = ask(running.port, "GET", target)
            assert (answer.status, answer.json["code"]) == (401, "http.token")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for target in ("/healthz", "/readyz"):
            assert ask(running.port, "GET", target).status == 200
        assert put(running.port, film).status == 401
        assert put(running.port, film, Authorization="Bearer abcdefghijklmnopqrstuvwxy").status == 401
        assert put(running.port, film, Authorization="Basic abcdefghijklmnopqrstuvwxyz").status == 401
        assert put(running.port, film, Authorization="bearer abcdefghijklmnopqrstuvwxyz").status == 200
        for host, status in (
            ("reading.example:443", 200),
            ("10.1.2.3", 200),
            ("evil.example", 421),
            ("0.0.0.0", 200),
        ):
            assert ask(running.port, "GET", "/", None, {"Host": host}).status == status
        assert "abcdefghijk" not in running.log.read_text()


def test_verdicts_are_kept_once_and_bad_ones_refused(tmp_path):
    path = tmp_path / "verdicts.csv"
    given = {
        "time": "2026-03-01T09:30:00.000Z", "reader": "AB", "path": "a.jpeg", "sha256": "0" * 64, "model": "m@0",
        "probability": None, "label": "NOT_A_CHEST_FILM", "threshold": 0.5, "verdict": "agree", "note": "",
        "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }  # fmt: skip
    kind = {"Content-Type": "application/json"}

    def post(port: int, body: bytes, **headers: str) -> service.Answer:
        return ask(port, "POST", "/v1/verdicts", body, {**kind, **headers})

    with service.threaded() as live:
        assert ask(live.port, "GET", "/v1/verdicts").json == {"file": None, "verdicts": []}
        answer = post(live.port, json.dumps(given).encode())
        assert (answer.status, answer.json["code"]) == (400, "usage")
        assert "--verdicts" in answer.json["remedy"]
    with service.threaded(verdicts=VerdictFile(path)) as live:
        assert post(live.port, json.dumps(given).encode()).json == {"kept": True}
        assert post(live.port, json.dumps(given).encode()).json == {"kept": False}
        for body in (
            b"",
            b"{",
            b"[" * 9000,
            b"[]",
            json.dumps({**given, "label": "PERHAPS"}).encode(),
            b'"' + b"x" * 20_000 + b'"',
        ):
            answer = post(live.port, body)
            assert (answer.status, answer.json["code"]) == (400, "usage"), body[:20]
        assert post(live.port, b"{}", **{"Content-Type": "text/plain"}).status == 415
        assert post(live.port, b"{}", Origin="http://elsewhere.example").status == 403
        assert ask(live.port, "PUT", "/v1/verdicts", b"{}", kind).status == 405
        assert ask(live.port, "GET", "/v1/verdicts").json == {"file": "verdicts.csv", "verdicts": [given]}
    assert len(path.read_text().splitlines()) == 2


def test_a_result_is_made_a_pdf(live, film):
    pytest.importorskip("reportlab", reason="reportlab is not installed (extra pdf)")
    title = {"Pneumoscan_Title": "caf%C3%A9%20%E8%83%B8%00.jpeg"}
    first, second = (put(live.port, film, "?document=pdf", **title) for _ in range(2))
    assert (first.status, first.headers["content-type"]) == (200, "application/pdf")
    assert first.body.startswith(b"%PDF-")
    assert first.body == second.body
    assert json.loads(first.headers["pneumoscan-row"])["label"] == put(live.port, film).json["label"]
    assert put(live.port, film, "?document=pdf&threshold=0.9").body != first.body
    assert put(live.port, film[:100], "?document=pdf").status == 422
    for query in ("?document=doc", "?document=pdf&include=heatmap", "?document=pdf&heatmap=png"):
        assert put(live.port, film, query).status == 400
    assert ask(live.port, "GET", "/v1/model").json["has_pdf"] is True
