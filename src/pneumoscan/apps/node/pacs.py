"""The PACS as DICOMweb shows it (PS3.18): search for objects, fetch one, store some.

Every answer has a time and a size. An answer that promises better luck later is a `PacsAwayError`; one that does not, or that
cannot be understood, is a `PacsAnswerError`. Neither repeats what the PACS said, for it quotes UIDs and names.

The bytes of an object stay as they are in both directions: `dicomweb-client`, which would write them anew, waits by itself and
knows no time for a whole answer, is therefore not used.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pneumoscan.apps.node import multipart
from pneumoscan.apps.node.config import PASSWORD_VARIABLE, TOKEN_VARIABLE, Config, secret
from pneumoscan.apps.node.header import Header, is_uid
from pneumoscan.errors import MissingDependencyError, PacsAnswerError, PacsAwayError

if TYPE_CHECKING:
    import ssl

    import httpx

_LATER = frozenset((401, 403, 407, 408, 425, 429, 502, 503, 504))
_MAX_JSON = 64 << 20
_JSON = "application/dicom+json"
_FIELDS = {
    "00080018": "sop_instance_uid",
    "00080020": "study_date",
    "00080050": "accession_number",
    "00080060": "modality",
    "00080070": "manufacturer",
    "0008103E": "series_description",
    "00081090": "model_name",
    "0020000D": "study_instance_uid",
    "0020000E": "series_instance_uid",
}
_REFERENCED, _FAILED, _INSTANCE = "00081199", "00081198", "00081155"


class Pacs:
    """A connection to the PACS; may be used from several threads at once."""

    def __init__(self, config: Config) -> None:
        """Set it up; nothing is sent yet.

        Raises:
            ConfigError: A secret or a certificate cannot be read.
            MissingDependencyError: The extra `node` is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise MissingDependencyError("the node needs httpx.", "pip install 'pneumoscan[node]'") from None
        # At level INFO it logs every URL, and these hold UIDs.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._config = config.pacs
        token = secret(config.path(config.pacs.token_file), TOKEN_VARIABLE)
        password = secret(config.path(config.pacs.password_file), PASSWORD_VARIABLE)
        self._problems = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=(config.pacs.user, password) if config.pacs.user else None,
            verify=_certificates(config),
            timeout=config.pacs.timeout_seconds,
            limits=httpx.Limits(max_connections=2 * config.node.workers + 4),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def search(self, keys: Mapping[str, str], *, limit: int, offset: int = 0) -> list[Header]:
        """Return one page of the objects that match (QIDO-RS, 10.6).

        Args:
            keys: Attributes by keyword, and the values to match.
            limit: At most so many.
            offset: How many to pass over.

        Raises:
            PacsAwayError, PacsAnswerError: See the module.
        """
        fields = [
            "StudyDate",
            "AccessionNumber",
            "Manufacturer",
            "ManufacturerModelName",
            "SeriesDescription",
        ]
        query = [*keys.items(), *(("includefield", name) for name in fields)]
        found = self._json(
            f"{self._url}/instances", [*query, ("limit", str(limit)), ("offset", str(offset))], _JSON
        )
        if found is None:
            return []
        if not isinstance(found, list):
            raise PacsAnswerError("the PACS answers a query with something else than a list.", _ASK)
        return [header_of(one) for one in found]

    def pages(self, keys: Mapping[str, str], page: int) -> Iterator[list[Header]]:
        """Yield the pages of `search` until one is not full; raises as `search`."""
        offset = 0
        while True:
            found = self.search(keys, limit=page, offset=offset)
            if found:
                yield found
            # A PACS may give less than a page has; only an empty one is surely the last.
            if not found or len(found) > page:
                return
            offset += len(found)

    def has(self, sop_instance_uid: str, study_instance_uid: str = "") -> bool:
        """Tell whether a query finds an object; raises as `search`."""
        keys = {"StudyInstanceUID": study_instance_uid} if study_instance_uid else {}
        found = self.search({"SOPInstanceUID": sop_instance_uid, **keys}, limit=2)
        # Some PACS ignore a key that they do not know.
        return any(header.sop_instance_uid == sop_instance_uid for header in found)

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """Return the file of one object as the PACS keeps it (WADO-RS, 10.4).

        Raises:
            PacsAwayError, PacsAnswerError: See the module.
        """
        url = f"{self._url}/studies/{study}/series/{series}/instances/{instance}"
        accept = f'multipart/related; type="{multipart.DICOM}"; transfer-syntax=*'
        most = self._config.max_object_mb << 20
        with self._answer("GET", url, most=most + (1 << 16), headers={"Accept": accept}) as (answer, body):
            try:
                parts = multipart.decode(answer.headers.get("Content-Type", ""), body)
            except ValueError as problem:
                raise PacsAnswerError(f"the PACS's answer is no object: {problem}.", _ASK) from None
        if len(parts) != 1:
            raise PacsAnswerError(f"the PACS answers with {len(parts)} objects instead of one.", _ASK)
        return parts[0]

    def store(self, study: str, objects: Sequence[bytes]) -> frozenset[str]:
        """Send objects of one study (STOW-RS, 10.5).

        Returns:
            The SOP instance UIDs that the PACS says it has stored.

        Raises:
            PacsAwayError, PacsAnswerError: See the module; some objects may be stored nevertheless.
        """
        content_type, body = multipart.encode(objects)
        headers = {"Content-Type": content_type, "Accept": _JSON}
        url = f"{self._url}/studies/{study}" if study else f"{self._url}/studies"
        with self._answer("POST", url, headers=headers, content=body) as (_, answered):
            told = _parsed(answered)
        if not isinstance(told, dict):
            raise PacsAnswerError("the PACS does not say what it has stored.", _ASK)
        if _uids(told, _FAILED):
            raise PacsAnswerError("the PACS refuses to store a result.", _ASK)
        return frozenset(_uids(told, _REFERENCED))

    def get_json(self, url: str, query: Mapping[str, str] | None = None, *, absent: bool = False) -> Any:
        """Return what an interface other than DICOMweb answers; None for a resource that may be `absent`, and is; raises as `search`."""
        return self._json(url, list((query or {}).items()), "application/json", absent=absent)

    @property
    def _url(self) -> str:
        return self._config.url.rstrip("/")

    def _json(self, url: str, query: list[tuple[str, str]], accept: str, *, absent: bool = False) -> Any:
        allowed = (404,) if absent else ()
        with self._answer("GET", url, allowed=allowed, params=query, headers={"Accept": accept}) as (
            answer,
            body,
        ):
            return None if answer.status_code in {204, *allowed} else _parsed(body)

    @contextmanager
    def _answer(
        self, method: str, url: str, *, most: int = _MAX_JSON, allowed: Sequence[int] = (), **options: Any
    ) -> Iterator[tuple["httpx.Response", bytes]]:
        """Send a request and yield the answer with its whole body."""
        until = time.monotonic() + self._config.transfer_seconds
        try:
            with self._client.stream(method, url, **options) as answer:
                if answer.status_code not in allowed:
                    _check(answer.status_code)
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > most:
                        raise PacsAnswerError(
                            "the PACS's answer is longer than is allowed.", "See pacs.max_object_mb."
                        )
                    if time.monotonic() > until:
                        raise PacsAwayError("the PACS's answer takes too long.", "See pacs.transfer_seconds.")
        except self._problems as problem:
            # Its own words may hold the URL.
            raise PacsAwayError(f"the PACS does not answer ({type(problem).__name__}).", _SEE) from None
        yield answer, bytes(body)


_ASK = "Ask its administrator; `pneumoscan node check` tells what works."
_SEE = "See that it runs, and that node.toml has its address."


def _check(status: int) -> None:
    if 200 <= status < 300:
        return
    if status in _LATER:
        raise PacsAwayError(f"the PACS answers {status}.", "See that it runs, and that the login is right.")
    raise PacsAnswerError(f"the PACS answers {status}.", _ASK)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        raise PacsAnswerError("the PACS's answer is no JSON.", _ASK) from None


def header_of(attributes: Any) -> Header:
    """Return the header of an object in the JSON model of DICOM (PS3.18, annex F); what cannot be understood is left out."""
    values = attributes if isinstance(attributes, dict) else {}
    found = {name: _first(values.get(tag)) for tag, name in _FIELDS.items()}
    for name in ("sop_instance_uid", "study_instance_uid", "series_instance_uid"):
        found[name] = found[name] if is_uid(found[name]) else ""
    return Header(**found)


def _first(attribute: Any) -> str:
    value = attribute.get("Value") if isinstance(attribute, dict) else None
    first = value[0] if isinstance(value, list) and value else ""
    return first.strip(" \0")[:64] if isinstance(first, str) else ""


def _uids(told: Mapping[str, Any], sequence: str) -> list[str]:
    items = told.get(sequence, {})
    values = items.get("Value") if isinstance(items, dict) else None
    return [_first(item.get(_INSTANCE)) for item in values or [] if isinstance(item, dict)]


def _certificates(config: Config) -> "ssl.SSLContext":
    import ssl

    from pneumoscan.errors import ConfigError

    try:
        context = ssl.create_default_context(cafile=config.path(config.pacs.ca_file))
        if config.pacs.client_certificate:
            context.load_cert_chain(config.folder / config.pacs.client_certificate)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "pacs.ca_file or pacs.client_certificate cannot be read.", "Give PEM files."
        ) from None
    return context
