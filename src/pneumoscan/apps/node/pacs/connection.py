"""HTTP to the PACS: connections that are kept open, and answers that have a time, a size and a typed error.

An answer that promises better luck later is a `PacsAwayError`; one that does not is a `PacsAnswerError`. Neither repeats what
the PACS said, for it quotes UIDs and names. After a refused login nothing is sent for a while: many servers lock an account
after a few tries.
"""

import logging
import threading
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pneumoscan.apps.node.config import PASSWORD_VARIABLE, TOKEN_VARIABLE, Config, secret
from pneumoscan.errors import ConfigError, PacsAnswerError, PacsAwayError, PacsLoginError, importing

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
class Answer:
    """What the PACS answers.

    Attributes:
        status: Of HTTP.
        content_type: Of the body.
        body: All its bytes.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)


class Connection:
    """Connections to one server; may be used from several threads at once."""

    def __init__(self, config: Config) -> None:
        """Set it up; nothing is sent yet.

        Raises:
            ConfigError: A secret or a certificate cannot be read.
            MissingDependencyError: The extra `node` is not installed.
        """
        with importing():
            import urllib3
        # It logs URLs, and these hold UIDs.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)
        self._config, self._problems = config.pacs, (urllib3.exceptions.HTTPError, OSError)
        self._headers = _login(config) | {
            # Pixels hardly get smaller, and some servers need 100 ms to find that out.
            "Accept-Encoding": "identity"
        }
        self._gate = _Gate()
        self._pool = urllib3.PoolManager(
            maxsize=8 * config.node.workers + 4,
            ssl_context=_certificates(config),
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
    ) -> Answer:
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
        self._gate.check()
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
                self._gate.heard(answer.status, begun)
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
        return Answer(answer.status, answer.headers.get("Content-Type", ""), content)


class _Gate:
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

    def heard(self, status: int, begun: float) -> None:
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


def _login(config: Config) -> dict[str, str]:
    token = secret(config.path(config.pacs.token_file), TOKEN_VARIABLE)
    password = secret(config.path(config.pacs.password_file), PASSWORD_VARIABLE)
    if config.pacs.user:
        return {"Authorization": f"Basic {b64encode(f'{config.pacs.user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _certificates(config: Config) -> "ssl.SSLContext":
    import ssl

    try:
        context = ssl.create_default_context(cafile=config.path(config.pacs.ca_file))
        if config.pacs.client_certificate:
            context.load_cert_chain(config.folder / config.pacs.client_certificate)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "pacs.ca_file or pacs.client_certificate cannot be read.", "Give PEM files."
        ) from None
    return context
