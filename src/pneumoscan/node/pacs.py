"""The PACS as DICOMweb shows it (PS3.18): search for objects, fetch one, store some, and see that they are found.

The bytes of an object stay as they are in both directions: `dicomweb-client`, which would write them anew, waits by itself and
knows no time for a whole answer, is therefore not used. Every call may raise a `PacsAwayError` or a `PacsAnswerError`; see
`connection`. The results for several films go in one request, and one query looks for all of them.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pneumoscan.errors import PacsAnswerError
from pneumoscan.node.client import ASK, DICOM_TYPE, Connection, decode_parts, encode_parts
from pneumoscan.node.header import Header, is_uid
from pneumoscan.node.results.finding import PICTURE_CLASS, REPORT_CLASS, STATE_CLASS
from pneumoscan.node.settings import Config

_JSON = "application/dicom+json"
KEYWORDS = ("StudyDate", "AccessionNumber", "Manufacturer", "ManufacturerModelName", "SeriesDescription")
FIELDS = {
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
log = logging.getLogger("pneumoscan.node")
_LONGER, _LONGEST_LIST = 4, 50_000
_IGNORES_OFFSET = (
    "the PACS ignores `offset`: it is asked for one list instead of pages. Films beyond the longest list that it gives are not found; "
    "have them sent by C-STORE, or ask its administrator"
)
_REFERENCED, _FAILED, _CLASS, _INSTANCE, _REASON = "00081199", "00081198", "00081150", "00081155", "00081197"
_CONFLICT = 409
_CLASSES = {
    REPORT_CLASS: "structured reports",
    PICTURE_CLASS: "secondary captures",
    STATE_CLASS: "presentation states",
}
_STORAGE = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.[0-9.]{1,40}")
# PS3.7, annex C, and PS3.18, I.2.2.
_REASONS = {
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0xC122: "transfer syntax not supported",
}
_RANGES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}


class Pacs:
    """The DICOMweb service of the settings; may be used from several threads at once."""

    def __init__(self, config: Config) -> None:
        """Prepare the service; nothing is sent yet. Raises as `Connection`."""
        self._config = config.pacs
        self._connection = Connection(config)
        self._takes_lists: bool | None = None
        # Objects in one list, where the PACS ignores `offset`; 0 where it gives pages.
        self._list = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def search(
        self,
        keys: Mapping[str, str],
        *,
        limit: int,
        offset: int = 0,
        keywords: Sequence[str] = KEYWORDS,
    ) -> list[Header]:
        """Return one page of the objects that match (QIDO-RS, 10.6).

        Args:
            keys: Attributes by keyword, and the values to match.
            limit: At most so many.
            offset: How many to pass over.
            keywords: Of attributes that are returned besides the UIDs. Some PACS read every file for these.
        """
        query = [*keys.items(), *(("includefield", name) for name in keywords)]
        found = self._json(
            f"{self._url}/instances", [*query, ("limit", str(limit)), ("offset", str(offset))], _JSON
        )
        if found is None:
            return []
        if not isinstance(found, list):
            raise PacsAnswerError("the PACS answers a query with something else than a list.", ASK)
        return [header_of(one) for one in found]

    def pages(self, keys: Mapping[str, str], page: int) -> Iterator[list[Header]]:
        """Yield what matches, page after page, each object once.

        A page that brings nothing new shows that the PACS ignores `offset`. From then on it is asked for one list instead,
        and for a longer one where that is full.
        """
        seen: set[str | Header] = set()
        offset = 0
        while not self._list:
            found = self.search(keys, limit=page, offset=offset)
            new = _new(found, seen)
            if new:
                yield new
            # A PACS may give less than a page has; only an empty one is surely the last.
            if not found or len(found) > page:
                return
            if not new:
                self._list = _LONGER * page
                log.warning(_IGNORES_OFFSET)
            offset += len(found)
        while True:
            limit = max(page, self._list)
            found = self.search(keys, limit=limit)
            new = _new(found, seen)
            if new:
                yield new
            # A list that is not full, or longer than was asked for, is all that this PACS gives.
            if len(found) != limit or limit >= _LONGEST_LIST:
                return
            self._list = min(_LONGER * limit, _LONGEST_LIST)

    def missing(self, studies: Mapping[str, str], *, sure: bool = True) -> set[str]:
        """Return those objects that no query finds.

        One query asks for all of them (a list of UIDs; PS3.18, 8.3.4.1). What it does not find is asked for one by one, for
        not every PACS takes a list.

        Args:
            studies: The study instance UID of each object, by its SOP instance UID.
            sure: Whether to ask one by one even where this PACS is known to take lists.
        """
        left = set(studies)
        if len(left) > 1 and self._takes_lists is not False:
            left -= self._listed(left)
        if sure or not self._takes_lists:
            left = {uid for uid in sorted(left) if not self._has(uid, studies[uid])}
        return left

    def _listed(self, uids: set[str]) -> set[str]:
        try:
            found = self.search({"SOPInstanceUID": ",".join(sorted(uids))}, limit=2 * len(uids), keywords=())
        except PacsAnswerError:
            if self._takes_lists is None:
                self._takes_lists = False
            return set()
        known = {header.sop_instance_uid for header in found} & uids
        if len(known) > 1:
            self._takes_lists = True
        return known

    def _has(self, sop_instance_uid: str, study_instance_uid: str) -> bool:
        keys = {"StudyInstanceUID": study_instance_uid} if study_instance_uid else {}
        found = self.search({"SOPInstanceUID": sop_instance_uid, **keys}, limit=2, keywords=())
        # Some PACS ignore a key that they do not know.
        return any(header.sop_instance_uid == sop_instance_uid for header in found)

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """Return the file of one object as the PACS keeps it (WADO-RS, 10.4)."""
        url = f"{self._url}/studies/{study}/series/{series}/instances/{instance}"
        accept = f'multipart/related; type="{DICOM_TYPE}"; transfer-syntax=*'
        most = (self._config.max_object_mb << 20) + (1 << 16)
        answer = self._connection.request("GET", url, headers={"Accept": accept}, most=most)
        try:
            parts = decode_parts(answer.content_type, answer.body)
        except ValueError as problem:
            raise PacsAnswerError(f"the PACS's answer is no object: {problem}.", ASK) from None
        if len(parts) != 1:
            raise PacsAnswerError(f"the PACS answers with {len(parts)} objects instead of one.", ASK)
        return parts[0]

    def store(
        self, study: str, objects: Iterable[bytes], *, refused: MutableMapping[str, str] | None = None
    ) -> frozenset[str]:
        """Send objects (STOW-RS, 10.5).

        Args:
            study: Study instance UID of all of them; empty for objects of several studies.
            objects: Their files.
            refused: Gets, by SOP instance UID, the class and the reason of each object that the PACS says it does not store.

        Returns:
            The SOP instance UIDs that the PACS says it has stored; after an error some may be stored nevertheless.
        """
        content_type, body = encode_parts(list(objects))
        headers = {"Content-Type": content_type, "Accept": _JSON}
        url = f"{self._url}/studies/{study}" if study else f"{self._url}/studies"
        said = self._connection.request("POST", url, headers=headers, body=body, allowed=(_CONFLICT,))
        try:
            answer = _parsed(said.body)
        except PacsAnswerError:
            if said.status != _CONFLICT:
                raise
            answer = None
        failures = _failures(answer) if isinstance(answer, dict) else {}
        if said.status == _CONFLICT and not failures:
            raise PacsAnswerError("the PACS answers 409: it stores no result, and does not say why.", ASK)
        if not isinstance(answer, dict):
            raise PacsAnswerError("the PACS does not say what it has stored.", ASK)
        if refused is not None:
            refused.update(failures)
        return frozenset(_uids(answer, _REFERENCED))

    def get_json(self, url: str, query: Mapping[str, str] | None = None, *, absent: bool = False) -> Any:
        """Return what an interface other than DICOMweb answers; None for a resource that may be `absent`, and is."""
        return self._json(url, list((query or {}).items()), "application/json", absent=absent)

    @property
    def _url(self) -> str:
        return self._config.url.rstrip("/")

    def _json(self, url: str, query: list[tuple[str, str]], accept: str, *, absent: bool = False) -> Any:
        allowed = (404,) if absent else ()
        answer = self._connection.request(
            "GET", url, query=query, headers={"Accept": accept}, allowed=allowed
        )
        return None if answer.status in {204, *allowed} else _parsed(answer.body)


def _new(found: Iterable[Header], seen: set[str | Header]) -> list[Header]:
    """Return those that were not seen yet, and take note of them."""
    new = {header.sop_instance_uid or header: header for header in found}
    fresh = [header for key, header in new.items() if key not in seen]
    seen.update(new)
    return fresh


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        raise PacsAnswerError("the PACS's answer is no JSON.", ASK) from None


def header_of(attributes: Any) -> Header:
    """Return the header of an object in the JSON model of DICOM (PS3.18, annex F); what cannot be understood is left out."""
    values = attributes if isinstance(attributes, dict) else {}
    found = {name: _first(values.get(tag)) for tag, name in FIELDS.items()}
    for name in ("sop_instance_uid", "study_instance_uid", "series_instance_uid"):
        found[name] = found[name] if is_uid(found[name]) else ""
    return Header(**found)


def _first(attribute: Any) -> str:
    value = attribute.get("Value") if isinstance(attribute, dict) else None
    first = value[0] if isinstance(value, list) and value else ""
    return first.strip(" \0")[:64] if isinstance(first, str) else ""


def _items(answer: Mapping[str, Any], sequence: str) -> list[dict[str, Any]]:
    items = answer.get(sequence, {})
    values = items.get("Value") if isinstance(items, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _uids(answer: Mapping[str, Any], sequence: str) -> list[str]:
    return [_first(item.get(_INSTANCE)) for item in _items(answer, sequence)]


def _failures(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the class and the reason of each object that was not stored, in our own words, by SOP instance UID."""
    found = {}
    for item in _items(answer, _FAILED):
        uid = _first(item.get(_CLASS))
        named = _CLASSES.get(uid, "objects") + (f" ({uid})" if _STORAGE.fullmatch(uid) else "")
        found[_first(item.get(_INSTANCE))] = f"{named}: {_reason(item.get(_REASON))}"
    return found


def _reason(attribute: Any) -> str:
    value = attribute.get("Value") if isinstance(attribute, dict) else None
    try:
        number = int(value[0])  # type: ignore[index]
    except (TypeError, ValueError, IndexError, KeyError):
        return "it gives no reason"
    if not 0 <= number <= 0xFFFF:
        return "it gives no reason"
    known = _REASONS.get(number) or _RANGES.get(number >> 8)
    known = known or ("cannot understand" if number >> 12 == 0xC else "")
    return f"failure reason 0x{number:04X}" + (f", {known}" if known else "")


@dataclass(frozen=True)
class FilmResults:
    """The results for one film: the UID of the film's study, to which they belong too, and their files by SOP instance UID."""

    study_instance_uid: str
    objects: Mapping[str, bytes] = field(repr=False)


def send_results(pacs: Pacs, films: Sequence[FilmResults]) -> list[PacsAnswerError | None]:
    """Send those objects that the PACS does not have.

    Returns:
        For each film what went wrong; None where the PACS names all that was sent.

    Raises:
        PacsAwayError, PacsAnswerError: Some may be stored nevertheless; calling again is safe.
    """
    missing = pacs.missing({uid: one.study_instance_uid for one in films for uid in one.objects}, sure=False)
    waiting = [one for one in films if missing & one.objects.keys()]
    refused: dict[str, str] = {}
    stored = _stored(pacs, waiting, missing, refused) if waiting else frozenset()
    problems = [_problem((missing & one.objects.keys()) - stored, refused) for one in films]
    if refused and not stored and len(waiting) > 1:
        # One may be the reason why none is stored: the caller sends them one by one.
        raise next(problem for problem in problems if problem is not None)
    return problems


def _stored(
    pacs: Pacs, films: Sequence[FilmResults], missing: set[str], refused: dict[str, str]
) -> frozenset[str]:
    studies = {one.study_instance_uid for one in films}
    objects = [content for one in films for uid, content in one.objects.items() if uid in missing]
    return pacs.store(studies.pop() if len(studies) == 1 else "", objects, refused=refused)


def _problem(left: set[str], refused: Mapping[str, str]) -> PacsAnswerError | None:
    """Return what went wrong with the results of a film of which some are not stored."""
    if not left:
        return None
    reasons = sorted({refused[uid] for uid in left & refused.keys()})
    if reasons:
        return PacsAnswerError(
            f"the PACS does not store {'; '.join(reasons)}.",
            "Ask its administrator to accept them by STOW-RS.",
        )
    return PacsAnswerError("the PACS does not name every result that it was sent.", "Ask its administrator.")


def confirm_results(pacs: Pacs, films: Sequence[Mapping[str, str]]) -> list[PacsAnswerError | None]:
    """See that queries find the results.

    Args:
        pacs: The PACS.
        films: For each film, the study instance UID of each of its results by the result's SOP instance UID.

    Returns:
        For each film what went wrong; None where all its results are found.

    Raises:
        PacsAwayError, PacsAnswerError: See `Pacs.missing`.
    """
    missing = pacs.missing({uid: study for one in films for uid, study in one.items()})
    problem = PacsAnswerError("a result that was stored is not found in the PACS.", "Ask its administrator.")
    return [problem if missing & one.keys() else None for one in films]
