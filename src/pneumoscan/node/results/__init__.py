"""What is stored beside a film: a structured report for machines and a picture for people, in the order of the modules.

`finding` is what goes in and what comes out, with its UIDs; `objects` is what the DICOM objects share, `structured_report` (with the presentation
state) and `picture` make them, `make_results` does all of it; `messages` says the same in FHIR and HL7 for systems that take no DICOM.
What results carry of their film comes from `node.header`.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from pneumoscan.errors import UsageError, importing
from pneumoscan.imaging import Film, read
from pneumoscan.node.header import UNDECLARED, read_source
from pneumoscan.node.results.finding import (
    PICTURE_CLASS,
    REPORT_CLASS,
    STATE_CLASS,
    Finding,
    ResultObject,
    ResultUids,
    Writer,
    result_uids,
)
from pneumoscan.node.results.messages import (
    fhir_bundle,
    fhir_transaction,
    message_id,
    oru_message,
    write_fhir,
)

if TYPE_CHECKING:
    from pneumoscan.bundle.heatmap import Evidence

__all__ = [
    "Finding",
    "ResultObject",
    "ResultUids",
    "Writer",
    "fhir_bundle",
    "fhir_transaction",
    "make_results",
    "message_id",
    "oru_message",
    "result_uids",
    "warm_up",
    "write_fhir",
]


def make_results(
    source: bytes,
    finding: Finding,
    writer: Writer,
    *,
    made_at: datetime,
    undeclared: str = UNDECLARED,
    film: Film | None = None,
    pixels_sha256: str = "",
    evidence: "Evidence | None" = None,
    state: bool = False,
) -> tuple[ResultObject, ...]:
    """Make the results for one film; the same arguments give the same bytes.

    Unless `film` is given, the film is decoded for the picture: call it in a process whose memory is limited, as for any film from outside.

    Args:
        source: All bytes of the film's DICOM file.
        finding: What was found about it.
        writer: What found it.
        made_at: With a time zone: the hospital's own, for it is written as local time unless the film's header tells a time
            zone. Store it before the call, so that a second one makes the same objects.
        undeclared: The character set, as DICOM names it, of films that declare none and whose names are neither ASCII nor
            UTF-8. The names' bytes stay as they are.
        film: What `imaging.read` returns for the same bytes, if that was called already.
        pixels_sha256: What `pixels_sha256_of` returns for them, if that was called already.
        evidence: The map to draw over the film; None draws none.
        state: Whether a film with regions has a presentation state that draws them.

    Returns:
        The report and the picture, and the presentation state if there is one.

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
    header = read_source(source, undeclared=undeclared, pixels_sha256=pixels_sha256)
    uids = result_uids(header.sop_instance_uid, header.pixels_sha256, writer)
    with importing():  # here, for a node that only receives films does without
        from pneumoscan.node.results.objects import template_of, values_of
        from pneumoscan.node.results.picture import capture_template, draw, picture_elements
        from pneumoscan.node.results.structured_report import make_report, make_state, report_template
    seen = read(source, name="the film") if film is None else film
    picture = draw(seen, finding, writer, evidence)
    local = header.local(made_at)
    values = values_of(header, uids, finding.probability or 0.0, local)
    if finding.regions:
        # No two films have the same outlines, so there is nothing to be filled in.
        whole = make_report(header, finding, writer, uids, local, (seen.width, seen.height))
        report = template_of(whole, {}).fill({}, header.identity)
    else:
        report = report_template(finding, writer).fill(values, header.identity)
    capture = capture_template(writer).fill(values, {**header.identity, **picture_elements(header, picture)})
    results = [
        ResultObject("report", REPORT_CLASS, uids.report, uids.report_series, report),
        ResultObject("picture", PICTURE_CLASS, uids.picture, uids.picture_series, capture),
    ]
    drawn = make_state(source, header, finding, writer, uids, local) if state else None
    if drawn is not None:
        results.append(ResultObject("state", STATE_CLASS, uids.state, uids.state_series, drawn))
    return tuple(results)


def warm_up() -> None:
    """Make a report and a picture of nothing: highdicom reads its tables at the first ones, which takes half a second."""
    from pneumoscan.node.results.picture import capture_template
    from pneumoscan.node.results.structured_report import report_template

    writer = Writer("none", "0" * 64, "0" * 64, "0", "", 0.5, "none")
    report_template(Finding("NORMAL", 0.5, 0.5, "", ()), writer)
    capture_template(writer)
