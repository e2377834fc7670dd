"""From a film and what was found about it to the two objects that are stored beside it."""

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pneumoscan.apps.node.results.finding import Finding, ResultObject, Writer
from pneumoscan.apps.node.results.source import UNDECLARED, read_source
from pneumoscan.apps.node.results.uids import result_uids
from pneumoscan.errors import MissingDependencyError, UsageError
from pneumoscan.imaging import read

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pneumoscan.apps.node.results.source import Source


def make_results(
    source: bytes, finding: Finding, writer: Writer, *, made_at: datetime, undeclared: str = UNDECLARED
) -> tuple[ResultObject, ...]:
    """Make the report and the picture for one film; the same arguments give the same bytes.

    The film is decoded for the picture: call it in a process whose memory is limited, as for any film from outside.

    Args:
        source: All bytes of the film's DICOM file.
        finding: What was found about it.
        writer: What found it.
        made_at: With a time zone: the hospital's own, for it is written as local time unless the film's header tells a time
            zone. Store it before the call, so that a second one makes the same objects.
        undeclared: The character set, as DICOM names it, of films that declare none and whose names are neither ASCII nor
            UTF-8. The names' bytes stay as they are.

    Returns:
        The report and the picture.

    Raises:
        UsageError: `made_at` has no time zone, or finding and writer differ in operating point or threshold.
        FilmIdentityError: The film's header lacks a UID that results need.
        FilmError: The film cannot be read.
        MissingDependencyError: The extra `node` is not installed.
    """
    if made_at.tzinfo is None:
        raise UsageError("made_at has no time zone.", "Give a datetime that has one.")
    if (finding.operating_point, finding.threshold) != (writer.operating_point, writer.threshold):
        raise UsageError("finding and writer differ in their operating point or threshold.")
    film = read_source(source, undeclared=undeclared)
    uids = result_uids(film.sop_instance_uid, film.pixels_sha256, writer)
    try:  # here, for a node that only receives films does without
        from pneumoscan.apps.node.results.capture import make_capture
        from pneumoscan.apps.node.results.picture import draw
        from pneumoscan.apps.node.results.report import make_report
    except ImportError:
        raise MissingDependencyError(
            "results need highdicom, which is not installed.", 'Run: pip install "pneumoscan[node]"'
        ) from None
    picture = draw(read(source, name="the film"), finding, writer)
    return (
        _object("report", make_report(film, finding, writer, uids), film, writer, made_at),
        _object("picture", make_capture(film, picture, writer, uids), film, writer, made_at),
    )


def _object(
    kind: Literal["report", "picture"], dataset: "Dataset", film: "Source", writer: Writer, made_at: datetime
) -> ResultObject:
    from pneumoscan.apps.node.results.writing import file_bytes, set_equipment, set_times

    local = film.local(made_at)
    set_equipment(dataset, writer, local)
    set_times(dataset, local)
    return ResultObject(
        kind,
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SeriesInstanceUID),
        file_bytes(dataset, film),
    )
