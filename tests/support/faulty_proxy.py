"""A proxy before a PACS that does what networks and servers do: refuses, breaks off before or after the work, dawdles, garbles."""

import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

STATUSES = (401, 409, 429, 500, 503)
FAULTS = (*STATUSES, "cut before", "cut after", "dawdle", "garble")


class FaultyProxy:
    """Passes requests on to `target`, save for a share of them.

    Attributes:
        done: How often each fault was done, and `passed`.
        stored: How often each body was sent to be stored, by the proxy's passing it on.
    """

    def __init__(self, target: str, *, share: float, seed: int, faults=FAULTS) -> None:
        self.target, self.share, self.faults = urlsplit(target), share, faults
        self.random, self.turn = random.Random(seed), threading.Lock()
        self.done: dict[object, int] = {}
        self.stored = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{self.target.path}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def choose(self):
        """The fault of the next request; None for none."""
        with self.turn:
            fault = self.random.choice(self.faults) if self.random.random() < self.share else None
            self.done[fault or "passed"] = self.done.get(fault or "passed", 0) + 1
            return fault


def _handler(proxy: FaultyProxy):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self._do(b"")

        def do_POST(self):
            self._do(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _do(self, body):
            fault = proxy.choose()
            if fault in STATUSES:
                self._answer(fault, {}, b"{}")
            elif fault == "cut before":
                self.close_connection = True
            else:
                self._pass(body, fault)

        def _pass(self, body, fault):
            if self.command == "POST":
                with proxy.turn:
                    proxy.stored += 1
            connection = http.client.HTTPConnection(proxy.target.hostname, proxy.target.port, timeout=60)
            names = ("Accept", "Content-Type")
            headers = {name: self.headers[name] for name in names if self.headers.get(name)}
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            except OSError:
                self._answer(502, {}, b"")
                return
            finally:
                connection.close()
            kept = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            if fault == "cut after":
                self._answer(answer.status, kept, content[: len(content) // 2], claimed=len(content) + 1)
            elif fault == "dawdle":
                self._dawdle(answer.status, kept, content)
            else:
                self._answer(answer.status, kept, _garbled(content) if fault == "garble" else content)

        def _answer(self, status, headers, content, claimed=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content) if claimed is None else claimed))
            self.end_headers()
            self.wfile.write(content)
            if claimed is not None:
                self.close_connection = True

        def _dawdle(self, status, headers, content):
            """One byte a second, until the other end has had enough."""
            self._answer(status, headers, b"", claimed=len(content) + 1000)
            try:
                for at in range(len(content)):
                    self.wfile.write(content[at : at + 1])
                    self.wfile.flush()
                    time.sleep(1)
            except OSError:
                pass

    return Handler


def _garbled(content):
    """Another boundary than is told, or JSON that ends early."""
    return (
        content.replace(b"--", b"-=", 1)
        if content[:2] == b"--" or b"\r\n--" in content[:4096]
        else content[:-3]
    )
