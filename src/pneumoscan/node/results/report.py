"""The structured report: Comprehensive 3D SR with a Measurement Report (PS3.16, TID 1500), made by highdicom."""

import logging
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
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
    FAMILY,
    LUNG,
    PERCENT,
    PNEUMONIA,
    PRESENCE,
    PROCEDURE,
    QUALITY,
    RESEMBLES,
    TITLE,
    UNUSABLE,
    WARNING,
    Template,
    concept,
    presence_of,
    scheme_item,
    set_origin,
    site_code,
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
    source: Source, finding: Finding, writer: Writer, uids: ResultUids, made_at: datetime
) -> Dataset:
    """Return a report, still without the patient and the study.

    PNEUMONIA, NORMAL and UNSURE have a finding with its presence (present, absent, undetermined) and its certainty in per
    cent. NOT_A_CHEST_FILM has the quality assessment "unusable", no finding and no number.
    """
    content = MeasurementReport(
        observation_context=_observer(writer, uids),
        procedure_reported=concept(PROCEDURE),
        imaging_measurements=[_group(source, finding, writer, uids)],
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
        measurements=[certainty] if judged else None,
        qualitative_evaluations=_evaluations(finding, presence),
        source_images=[SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)],
    )


def _evaluations(finding: Finding, presence: Code | None) -> list[QualitativeEvaluation]:
    pairs = [(PRESENCE, presence)] if presence is not None else [(QUALITY, UNUSABLE)]
    pairs += [(WARNING, warning_code(name)) for name in finding.warnings]
    if finding.resembles and presence is not None:
        pairs.append((RESEMBLES, site_code(finding.resembles)))
    return [QualitativeEvaluation(concept(name), concept(value)) for name, value in pairs]


def _algorithm(writer: Writer) -> AlgorithmIdentification:
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
