"""The structured report: Comprehensive 3D SR with a Measurement Report (PS3.16, TID 1500), made by highdicom.

A film with regions of evidence has a group for each of them (TID 1410) behind that of the finding: its outline as SCOORD.
"""

import logging
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pneumoscan.node.header import MODEL_NAME, REPORT_SERIES, Source
from pneumoscan.node.results.finding import NOTICE, Finding, ResultUids, Writer, percent_of, plain
from pneumoscan.node.results.objects import (
    ANY_PROBABILITY,
    CERTAINTY,
    DEVICE,
    EVIDENCE,
    FAMILY,
    FIELDS,
    LEFT,
    LUNG,
    PERCENT,
    PNEUMONIA,
    PRESENCE,
    PROCEDURE,
    QUALITY,
    RIGHT,
    SHARE,
    TITLE,
    UNUSABLE,
    WARNING,
    Template,
    concept,
    presence_of,
    scheme_item,
    set_origin,
    template_for,
    warning_code,
)

_SERIES_NUMBER = 9701
# highdicom names the film's UID in its log.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)


def report_template(finding: Finding, writer: Writer) -> Template:
    """Return what all reports with this answer have in common, whatever the film and the probability."""
    return _template(replace(finding, probability=ANY_PROBABILITY), writer)


@lru_cache(maxsize=64)
def _template(finding: Finding, writer: Writer) -> Template:
    return template_for(lambda source, uids, made_at: make_report(source, finding, writer, uids, made_at))


def make_report(
    source: Source,
    finding: Finding,
    writer: Writer,
    uids: ResultUids,
    made_at: datetime,
    size: tuple[int, int] = (0, 0),
) -> Dataset:
    """Return a report, still without the patient and the study.

    PNEUMONIA, NORMAL and UNSURE have a finding with its presence (present, absent, undetermined) and its certainty in per
    cent. NOT_A_CHEST_FILM has the quality assessment "unusable", no finding and no number. `size` is the width and height of the film in
    pixels, which regions need.
    """
    content = MeasurementReport(
        observation_context=_observer(writer, uids),
        procedure_reported=concept(PROCEDURE),
        imaging_measurements=[
            _group(source, finding, writer, uids),
            *_regions(source, finding, writer, uids, size),
        ],
        title=concept(TITLE),
    )
    report = Comprehensive3DSR(
        evidence=[_evidence(source)],
        content=content[0],
        series_instance_uid=uids.report_series,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uids.report,
        instance_number=1,
        manufacturer=plain(writer.manufacturer),
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=REPORT_SERIES,
        manufacturer_model_name=MODEL_NAME,
        coding_schemes=[scheme_item()],
    )
    set_origin(report, writer, made_at)
    return report


def _observer(writer: Writer, uids: ResultUids) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=uids.device,
        name=MODEL_NAME,
        manufacturer_name=plain(writer.manufacturer),
        model_name=plain(writer.model_name),
    )
    return ObservationContext(observer_device_context=ObserverContext(concept(DEVICE), device))


def _group(
    source: Source, finding: Finding, writer: Writer, uids: ResultUids
) -> MeasurementsAndQualitativeEvaluations:
    presence = presence_of(finding.label)
    judged = presence is not None
    certainty = Measurement(
        name=concept(CERTAINTY),
        value=percent_of(finding.probability or 0.0),
        unit=concept(PERCENT),
    )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uids.tracking, identifier="Pneumonia on this film"),
        finding_type=concept(PNEUMONIA) if judged else None,
        finding_sites=[FindingSite(concept(LUNG))] if judged else None,
        algorithm_id=_algorithm(writer),
        measurements=[certainty, *_fields(finding)] if judged else None,
        qualitative_evaluations=_evaluations(finding, presence),
        source_images=[SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)],
    )


def _fields(finding: Finding) -> list[Measurement]:
    return [_percent_measured(FIELDS[side], share) for side, share in finding.fields]


def _percent_measured(name: Code, share: float) -> Measurement:
    return Measurement(name=concept(name), value=round(100 * share, 2), unit=concept(PERCENT))


def _regions(
    source: Source, finding: Finding, writer: Writer, uids: ResultUids, size: tuple[int, int]
) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """Return a group for each region (TID 1410): outline, side, and share of the evidence."""
    image = SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid)
    groups = []
    for number, region in enumerate(finding.regions, 1):
        # Pixels, with the corner of the first one at 0, 0; the last point closes the line (PS3.3, C.18.6.1.2).
        points = np.asarray((*region.points, region.points[0])) * size
        groups.append(
            PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=uids.tracking_of(number),
                    identifier=f"Region {number} of evidence for pneumonia on this film",
                ),
                referenced_region=ImageRegion("POLYLINE", points, image),
                finding_type=concept(EVIDENCE),
                finding_sites=[
                    FindingSite(concept(LUNG), laterality=concept(RIGHT if region.side == "right" else LEFT))
                ],
                algorithm_id=_algorithm(writer, finding.measured),
                measurements=[_percent_measured(SHARE, region.share)],
            )
        )
    return groups


def _evaluations(finding: Finding, presence: Code | None) -> list[QualitativeEvaluation]:
    pairs = [(PRESENCE, presence)] if presence is not None else [(QUALITY, UNUSABLE)]
    pairs += [(WARNING, warning_code(name)) for name in finding.warnings]
    return [QualitativeEvaluation(concept(name), concept(value)) for name, value in pairs]


def _algorithm(writer: Writer, measured: str = "") -> AlgorithmIdentification:
    """Return what the answer rests on (TID 4019)."""
    return AlgorithmIdentification(
        name=plain(writer.model_name),
        version=plain(writer.pneumoscan_version),
        manufacturer=plain(writer.manufacturer),
        family=concept(FAMILY),
        parameters=[
            f"model: {plain(writer.model_name)}",
            f"SHA-256 of model.json: {writer.model_json_sha256}",
            f"SHA-256 of model.onnx: {writer.onnx_sha256}",
            f"operating point: {plain(writer.operating_point) or 'given by hand'}",
            f"threshold: {float(writer.threshold)!r}",
            *([f"measured: {plain(measured)}"] if measured else []),
            NOTICE,
        ],
    )


def _evidence(source: Source) -> Dataset:
    """Return the film as highdicom is shown it: with its UIDs, and with nobody's name for it to check or to log."""
    evidence = Dataset()
    evidence.SOPClassUID = source.sop_class_uid
    evidence.SOPInstanceUID = source.sop_instance_uid
    evidence.SeriesInstanceUID = source.series_instance_uid
    evidence.StudyInstanceUID = source.study_instance_uid
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
    ):
        setattr(evidence, keyword, "")
    evidence.StudyDate = evidence.StudyTime = None
    return evidence
