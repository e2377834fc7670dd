"""Objects by QIDO-RS: page after page of the studies of a few days, for a query has no "since".

What was seen before costs one look into the queue. A study whose date the header does not tell, or tells wrongly, is not found
by its date; a longer window, or C-STORE, finds it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.header import Header
from pneumoscan.apps.node.pacs import Pacs
from pneumoscan.apps.node.queue import Arrival, Queue
from pneumoscan.apps.node.results import is_own_result


@dataclass(frozen=True)
class Looked:
    """What one look has found.

    Attributes:
        seen: Objects that the PACS listed.
        new: Those that were not known.
        own: Those that are results of pneumoscan, which are left alone.
    """

    seen: int = 0
    new: int = 0
    own: int = 0

    def __add__(self, other: "Looked") -> "Looked":
        return Looked(self.seen + other.seen, self.new + other.new, self.own + other.own)


def look(pacs: Pacs, queue: Queue, config: Config, *, since: date, until: date, reading: str = "") -> Looked:
    """Put every radiograph of these days into the queue that is not there yet.

    Args:
        pacs: The PACS.
        queue: The queue; each page is one transaction.
        config: Modalities, page and mode.
        since: First date of the studies.
        until: Last date of the studies.
        reading: Empty, or what identifies the model for another reading of films that were read before.

    Raises:
        PacsAwayError, PacsAnswerError: What was found before is in the queue.
    """
    total = Looked()
    for modality in config.find.modalities:
        days = f"{since:%Y%m%d}-{until:%Y%m%d}"
        for page in pacs.pages({"StudyDate": days, "Modality": modality}, config.find.page):
            total += enter(queue, page, config, source="qido", reading=reading)
    return total


def enter(
    queue: Queue,
    page: Iterable[Header],
    config: Config,
    *,
    source: str,
    reading: str = "",
    mark: tuple[str, str] | None = None,
) -> Looked:
    """Put the objects of one answer into the queue; our own results stay out."""
    headers = [header for header in page if header.sop_instance_uid]
    films = [header for header in headers if not is_own_result(header.identity)]
    new = queue.add(arrivals(films, source, config.node.mode, reading), mark)
    return Looked(len(headers), new, len(headers) - len(films))


def arrivals(headers: Iterable[Header], source: str, mode: str, reading: str = "") -> Iterator[Arrival]:
    """Yield what the queue keeps of each object."""
    for header in headers:
        yield Arrival(
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            source=source,
            mode=mode,
            reading=reading,
            study_date=header.study_date,
            accession_number=header.accession_number,
            device=header.device,
        )
