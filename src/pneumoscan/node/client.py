"""HTTP to the PACS: connections that are kept open, bodies of several parts, and waiting for a PACS that is away.

An answer that promises better luck later is a `PacsAwayError`; one that does not is a `PacsAnswerError`. Neither repeats what
the PACS said, for it quotes UIDs and names. After a refused login nothing is sent for a while: many servers lock an account
after a few tries.
"""

import logging
import re
import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pneumoscan.errors import ConfigError, PacsAnswerError, PacsAwayError, PacsLoginError, importing
from pneumoscan.node.config import PASSWORD_VARIABLE, TOKEN_VARIABLE, secret
from pneumoscan.node.settings import Config

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse

MAX_JSON = 64 << 20
ASK = "Ask its administrator; `pneumoscan node check` tells what works."
_SEE = "See that it runs, and that node.toml has its address."
_LATER = frozenset((403, 408, 425, 429, 502, 503, 504))
_LOGIN = frozenset((401, 407))
# Seconds without a request after each refusal of the login in turn: of one that was accepted before, and of one that never was.
_PAUSES_KNOWN, _PAUSES_NEW = (1.0, 5.0, 30.0, 300.0, 1800.0, 3600.0), (5.0, 1800.0, 3600.0)
_PIECE = 1 << 20


@dataclass(frozen=True)
class Response:
    """What the PACS answers."""

    status: int
    content_type: str
    body: bytes = field(repr=False)


class Connection:
    """Connections to one server; may be used from several threads at once."""

    def __init__(self, config: Config) -> None:
        """Prepare the connections; nothing is sent yet.

        Raises:
            ConfigError: A secret or a certificate cannot be read.
            MissingDependencyError: The extra `node` is not installed.
        """
        with importing():
            import urllib3
        # It logs URLs, and these hold UIDs.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)
        self._config, self._problems = config.pacs, (urllib3.exceptions.HTTPError, OSError)
        pacs = config.pacs
        self._headers = login(
            pacs.user,
            secret(config.path(pacs.password_file), PASSWORD_VARIABLE),
            secret(config.path(pacs.token_file), TOKEN_VARIABLE),
        ) | {
            # Pixels hardly get smaller, and some servers need 100 ms to find that out.
            "Accept-Encoding": "identity"
        }
        self._login_pause = _LoginPause()
        self._pool = urllib3.PoolManager(
            maxsize=8 * config.node.workers + 4,
            ssl_context=certificates("pacs", config.path(pacs.ca_file), config.path(pacs.client_certificate)),
            retries=False,
            timeout=config.pacs.timeout_seconds,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str],
        body: bytes | None = None,
        most: int = MAX_JSON,
        allowed: Sequence[int] = (),
    ) -> Response:
        """Send a request and return the answer.

        Args:
            method: Of HTTP.
            url: Of the resource.
            query: Keys and values.
            headers: Besides the login.
            body: To send.
            most: Bytes that the answer may have.
            allowed: Statuses besides 200 to 299 that are an answer.

        Raises:
            PacsAwayError, PacsAnswerError: See the module.
        """
        self._login_pause.check()
        begun = time.monotonic()
        until = begun + self._config.transfer_seconds
        address = f"{url}?{urlencode(query)}" if query else url
        try:
            answer = self._pool.request(
                method,
                address,
                body=body,
                headers={**self._headers, **headers},
                redirect=False,
                preload_content=False,
            )
            try:
                self._login_pause.record(answer.status, begun)
                if answer.status not in allowed:
                    _check(answer.status)
                content = _content(answer, most, until)
            except BaseException:
                answer.close()
                raise
            answer.release_conn()
        except self._problems as problem:
            # Its own words may hold the URL.
            raise PacsAwayError(f"the PACS does not answer ({type(problem).__name__}).", _SEE) from None
        return Response(answer.status, answer.headers.get("Content-Type", ""), content)


class _LoginPause:
    """Keeps requests back while the PACS refuses the login; for several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._pauses: tuple[float, ...] = _PAUSES_NEW
        self._refusals = 0
        self._since = self._until = 0.0
        self._status = 0

    def check(self) -> None:
        """Raise PacsLoginError where nothing may be sent now."""
        with self._turn:
            if self._refusals and time.monotonic() < self._until:
                raise self._problem()

    def record(self, status: int, begun: float) -> None:
        """Take note of an answer to a request that began then; raise PacsLoginError if it refuses the login."""
        with self._turn:
            if status in _LOGIN:
                # Requests that were under way at the same time are one try.
                if not self._refusals or begun >= self._since:
                    pause = self._pauses[min(self._refusals, len(self._pauses) - 1)]
                    self._refusals, self._status = self._refusals + 1, status
                    self._since = time.monotonic()
                    self._until = self._since + pause
                raise self._problem()
            if status < 500:
                self._pauses, self._refusals = _PAUSES_KNOWN, 0

    def _problem(self) -> PacsLoginError:
        seconds = max(0.0, self._until - time.monotonic())
        return PacsLoginError(
            f"the PACS answers {self._status}: it refuses the login. "
            f"To keep the account from being locked, the login is not tried again for {seconds:.0f} s.",
            "Correct pacs.user and the password, or the token, and restart the node.",
            seconds=seconds,
        )


def _content(answer: "BaseHTTPResponse", most: int, until: float) -> bytes:
    pieces, size = [], 0
    while piece := answer.read1(_PIECE, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise PacsAnswerError("the PACS's answer is longer than is allowed.", "See pacs.max_object_mb.")
        if time.monotonic() > until:
            raise PacsAwayError("the PACS's answer takes too long.", "See pacs.transfer_seconds.")
    return b"".join(pieces)


def _check(status: int) -> None:
    if 200 <= status < 300:
        return
    if status in _LATER:
        raise PacsAwayError(
            f"the PACS answers {status}.", "See that it runs, and that the login may do this."
        )
    raise PacsAnswerError(f"the PACS answers {status}.", ASK)


def login(user: str, password: str, token: str) -> dict[str, str]:
    """Return the header of HTTP that names a user, or holds a bearer token; none without both."""
    if user:
        return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def certificates(table: str, authorities: Path | None, own: Path | None) -> "ssl.SSLContext":
    """Return a TLS context with the certificates to trust and the one to show.

    Args:
        table: Of the settings that name both files.
        authorities: PEM file with certificates; None for those of the system.
        own: PEM file with a certificate and its key; None for none.

    Raises:
        ConfigError: One of them cannot be read.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=authorities)
        if own is not None:
            context.load_cert_chain(own)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"{table}.ca_file or {table}.client_certificate cannot be read.", "Give PEM files."
        ) from None
    return context


_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,200})"?', re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
DICOM_TYPE = "application/dicom"


def encode_parts(objects: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the content type and the body that send DICOM files."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {DICOM_TYPE}\r\n\r\n".encode()
    pieces = [piece for one in objects for piece in (head, one, b"\r\n")]
    body = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    return f'multipart/related; type="{DICOM_TYPE}"; boundary={boundary}', body


def decode_parts(content_type: str, body: bytes) -> list[bytes]:
    """Return the parts of a body.

    Raises:
        ValueError: The type is another, or the body does not end as it must.
    """
    if content_type.partition(";")[0].strip().lower() != "multipart/related":
        raise ValueError("it is not multipart/related")
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("it names no boundary")
    # The mark stands at the beginning of a line; the line end before it belongs to the mark.
    mark = b"\r\n--" + found[1].encode()
    parts, begin = [], 0 if body.startswith(mark[2:]) else body.find(mark) + 2
    if begin == 1:
        raise ValueError("its first boundary is missing")
    begin += len(mark) - 2
    while not body.startswith(b"--", begin):
        end = body.find(mark, begin)
        if end < 0:
            raise ValueError("its last boundary is missing")
        parts.append(_part_content(body, begin, end))
        begin = end + len(mark)
    return parts


def _part_content(body: bytes, begin: int, end: int) -> bytes:
    """Return the content of the part in a range, which may have large pixels: it is copied once."""
    head = body.find(_HEAD_END, begin, end)
    if head < 0 or (head > begin and not body.startswith((b"\r\n", b" ", b"\t"), begin)):
        raise ValueError("a part has no end of its header")
    return body[head + len(_HEAD_END) : end]


_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0


class Backoff:
    """How long to wait for a server that is away, shared by all tasks of a process.

    Attributes:
        away: Whether the last request failed because it is away.
    """

    def __init__(self) -> None:
        self.away = False
        self._pause, self._until = _FIRST_WAIT, 0.0

    def failed(self, at_least: float = 0.0) -> float:
        """Take note that it is away; return for how many seconds nothing should be asked of it.

        Args:
            at_least: Seconds that the pause lasts in any case.
        """
        now = time.monotonic()
        # Several tasks notice the same failure.
        if now >= self._until:
            self._until = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_WAIT)
        self._until = max(self._until, now + at_least)
        self.away = True
        return self._until - now

    def succeeded(self) -> None:
        """Take note that it answers."""
        self.away = False
        self._pause, self._until = _FIRST_WAIT, 0.0

    @property
    def remaining(self) -> float:
        """Seconds that are still to be waited; 0 for none."""
        return max(0.0, self._until - time.monotonic())
