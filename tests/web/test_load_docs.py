"""What docs/web.md tells: its examples run, its tables are whole."""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
TOLD_PORT = "8800"


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    command = [sys.executable, "-m", "pneumoscan", "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found
        yield found[1]
        process.send_signal(signal.SIGTERM)


@pytest.fixture
def film(tmp_path, monkeypatch, draw_film):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_film()).save("film.jpeg", quality=92)


@pytest.mark.usefixtures("film")
def test_the_python_example_runs(port, capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    exec(compile(block.replace(TOLD_PORT, port), "docs/web.md", "exec"), {})
    (said,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[A-Z_]+ 0\.\d+ \[.*\]", said)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.usefixtures("film")
def test_the_examples_for_curl_run(port):
    lines = re.findall(r"^ {4}(curl .*)$", TEXT, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        command = shlex.split(line.replace(TOLD_PORT, port))
        done = subprocess.run(
            [*command, "--fail", "--silent", "--show-error"], capture_output=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")


def test_every_code_of_http_is_told_with_its_status():
    from pneumoscan.web.responses import HTTP_CODES

    rows = re.findall(r"^\| (\d{3}) \| (`[^|]+`) \|", TEXT, re.MULTILINE)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"`([a-z_.]+)`", codes)}
    http = {code: status for code, status in told.items() if code.startswith("http.")}
    assert http == {code: status for code, (status, *_) in HTTP_CODES.items()}
    assert {"usage", "config", "internal", "film.too_large", "film.format", "environment.codec"} <= set(told)


def test_every_metric_is_told():
    from pneumoscan.web.service import ServiceMetrics
    from pneumoscan.workers.pool import FilmPool

    metrics = ServiceMetrics("0")
    metrics.watch(FilmPool(Path(), workers=1, waiting=1), lambda: 0)
    metrics.request("/", "GET", 200, "ok", 0.1)
    metrics.film("NORMAL", "")
    names = set(re.findall(r"^# TYPE (\w+) ", metrics.page().decode(), re.MULTILINE))
    assert names == set(re.findall(r"`(pneumoscan_\w+)`", TEXT))


def test_the_limits_are_those_of_the_code():
    from pneumoscan.web import connection
    from pneumoscan.web.limits import MIB, Settings
    from pneumoscan.workers.pool import Limits

    settings, limits = Settings(), Limits()
    assert f"{settings.film_bytes // MIB} MiB (`--max-film-mb`), 64 megapixels, {limits.seconds:g} s" in TEXT
    assert f"| films waiting | {settings.queue} " in TEXT
    assert f"| all request and response bodies together | {settings.memory_bytes // MIB} MiB" in TEXT
    assert f"no pause of {settings.idle_seconds:g} s, complete within {settings.body_seconds:g} s" in TEXT
    assert f"{connection.HEADER_BYTES >> 10} KiB, complete within {connection.HEADER_SECONDS:g} s" in TEXT
    assert (
        f"{connection.MAX_CONNECTIONS:,}, then 503; an idle one is closed after {connection.KEEP_ALIVE_SECONDS} s"
        in TEXT
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path):
    block = re.search(r"^ {4}\[Unit\]\n(?: {4}.*\n|\n)+", TEXT, re.MULTILINE)
    assert block
    unit = tmp_path / "pneumoscan.service"
    text = re.sub(r"^ {4}", "", block[0], flags=re.MULTILINE)
    unit.write_text(text.replace("/opt/pneumoscan/bin/pneumoscan", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    if "Failed to" in done.stderr and "manager" in done.stderr:
        pytest.skip(f"systemd-analyze does not run here: {done.stderr[:200]}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_of_the_documents_is_there():
    assert importlib.util.find_spec("pneumoscan.cli.serve")
    options = set(re.findall(r"(--[a-z][a-z-]+)", " ".join(re.findall(r"pneumoscan serve[^\n`]*", TEXT))))
    from pneumoscan.cli.serve import serve

    known = {option for parameter in serve.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert options <= known
