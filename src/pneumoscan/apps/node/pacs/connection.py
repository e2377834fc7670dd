"""HTTP to the PACS: connections that are kept open, and answers that have a time, a size and a typed error.

An answer that promises better luck later is a `PacsAwayError`; one that does not is a `PacsAnswerError`. Neither repeats what
the PACS said, for it quotes UIDs and names.
"""

import logging
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pneumoscan.apps.node.config import PASSWORD_VARIABLE, TOKEN_VARIABLE, Config, secret
from pneumoscan.errors import ConfigError, PacsAnswerError, PacsAwayError, importing

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse

MAX_JSON = 64 << 20
ASK = "Ask its administrator; `pneumoscan node check` tells what works."
_SEE = "See that it runs, and that node.toml has its address."
_LATER = frozenset((401, 403, 407, 408, 425, 429, 502, 503, 504))
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
        until = time.monotonic() + self._config.transfer_seconds
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
        raise PacsAwayError(f"the PACS answers {status}.", "See that it runs, and that the login is right.")
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
