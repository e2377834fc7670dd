"""The viewer OHIF before a PACS: its files as npm has them, and the PACS's DICOMweb at the same address, for a browser asks no other."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = "3.13.2"
_SETTINGS = """
window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: false, maxNumberOfWebWorkers: 1,
  showCPUFallbackMessage: false, investigationalUseDialog: { option: "never" }, defaultDataSourceName: "pacs",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "pacs",
    configuration: {
      friendlyName: "pacs", name: "pacs", wadoUriRoot: location.origin + "/dicom-web",
      qidoRoot: location.origin + "/dicom-web", wadoRoot: location.origin + "/dicom-web",
      qidoSupportsIncludeField: false, imageRendering: "wadors", thumbnailRendering: "wadors",
      enableStudyLazyLoad: true, supportsWildcard: true, omitQuotationForMultipartRequest: true,
    },
  }],
};
"""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *words, pacs: str, directory: str) -> None:
        self.pacs = pacs
        super().__init__(*words, directory=directory)

    def log_message(self, *words) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web"):
            self._answer(*self._asked())
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", _SETTINGS.encode())
        else:
            # The page's own addresses are none of its files.
            self.path = path if Path(self.directory, path[1:]).is_file() else "/index.html"
            super().do_GET()

    def _asked(self) -> tuple[int, str, bytes]:
        headers = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.pacs + self.path, headers=headers), timeout=60
            ) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, "text/plain", error.read()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(files: Path, pacs: str) -> Iterator[str]:
    """Serve the folder `dist` of the package, and a PACS; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, pacs=pacs, directory=str(files)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
