"""Objects by Orthanc's list of changes: every one that arrives, whatever its date, by a number that only grows.

The number up to which the list was read is kept in the transaction that makes the rows. Orthanc's events (`OnStableStudy`) live
in its memory and are lost with it; the list is not.
"""

import re
from typing import Any

from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.header import Header
from pneumoscan.apps.node.pacs import Pacs, header_of
from pneumoscan.apps.node.queue import Queue
from pneumoscan.apps.node.sources.qido import Looked, enter
from pneumoscan.errors import PacsAnswerError

MARK = "orthanc.seq"
_IDENTIFIER = re.compile(r"[0-9a-f-]{20,64}")


def follow(pacs: Pacs, queue: Queue, config: Config) -> Looked:
    """Put every radiograph into the queue that arrived since the last call.

    Raises:
        PacsAwayError, PacsAnswerError: What was found before is in the queue, and the next call goes on from there.
    """
    total, done = Looked(), False
    while not done:
        last = int(queue.mark(MARK) or 0)
        answer = _changes(pacs, config, last)
        if answer["Last"] < last:  # another Orthanc, or one whose database was made anew
            queue.set_mark(MARK, "0")
            continue
        found = [
            _header(pacs, config, change)
            for change in answer["Changes"]
            if change.get("ChangeType") == "NewInstance"
        ]
        page = [one for one in found if one is not None and one.modality in config.find.modalities]
        total += enter(queue, page, config, source="orthanc", mark=(MARK, str(answer["Last"])))
        # A list that does not go on, though it says that it is not at its end, would be asked for without a pause.
        done = bool(answer["Done"]) or answer["Last"] == last
    return total


def _changes(pacs: Pacs, config: Config, since: int) -> dict[str, Any]:
    answer = pacs.get_json(f"{_url(config)}/changes", {"since": str(since), "limit": str(config.find.page)})
    legal = (
        isinstance(answer, dict)
        and isinstance(answer.get("Changes"), list)
        and isinstance(answer.get("Last"), int)
    )
    if not legal or "Done" not in answer:
        raise PacsAnswerError(
            "pacs.orthanc gives no list of changes.", "See that it is Orthanc's own address."
        )
    changes: dict[str, Any] = answer
    return changes


def _header(pacs: Pacs, config: Config, change: dict[str, Any]) -> Header | None:
    """Return the header of an instance; None where it was deleted meanwhile."""
    identifier = str(change.get("ID"))
    if not _IDENTIFIER.fullmatch(identifier):
        raise PacsAnswerError(
            "pacs.orthanc gives no list of changes.", "See that it is Orthanc's own address."
        )
    tags = pacs.get_json(f"{_url(config)}/instances/{identifier}/tags", {"short": ""}, absent=True)
    if not isinstance(tags, dict):
        return None
    # Orthanc writes the tags as `0008,0018` and their values as plain text.
    return header_of({tag.replace(",", "").upper(): {"Value": [value]} for tag, value in tags.items()})


def _url(config: Config) -> str:
    return config.pacs.orthanc.rstrip("/")
