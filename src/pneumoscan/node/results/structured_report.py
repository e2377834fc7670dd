"""The structured report: Comprehensive 3D SR with a Measurement Report (PS3.16, TID 1500), made by highdicom.

A film with regions of evidence has a group for each of them (TID 1410) behind that of the finding: its outline as SCOORD. The share of
a lung field refers to the outline of the lung; without coordinates in each group, OHIF shows nothing of a report.
Below it is the presentation state.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    CoordinatesForMeasurement,
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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from pneumoscan.imaging.dicom.elements import DataSet, Tag
from pneumoscan.imaging.dicom.file import open_file
from pneumoscan.imaging.film import MAX_INFLATED
from pneumoscan.node.header import MODEL_NAME, REPORT_SERIES, STATE_SERIES, Source
from pneumoscan.node.results.finding import (
    NOTICE,
    STATE_CLASS,
    Finding,
    Outline,
    ResultUids,
    Writer,
    percent_of,
    plain,
)
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
    template_of,
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
            _group(source, finding, writer, uids, size),
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
    source: Source, finding: Finding, writer: Writer, uids: ResultUids, size: tuple[int, int]
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
        measurements=[certainty, *_fields(source, finding, size)] if judged else None,
        qualitative_evaluations=_evaluations(finding, presence),
        source_images=[SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)],
    )


def _fields(source: Source, finding: Finding, size: tuple[int, int]) -> list[Measurement]:
    image = SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid)
    lungs: dict[str, list[CoordinatesForMeasurement]] = {}
    for lung in finding.lungs:
        line = CoordinatesForMeasurement("POLYLINE", _closed(lung, size), image)
        lungs.setdefault(lung.side, []).append(line)
    return [_percent_measured(FIELDS[side], share, lungs.get(side)) for side, share in finding.fields]


def _percent_measured(
    name: Code, share: float, within: list[CoordinatesForMeasurement] | None = None
) -> Measurement:
    percent = round(100 * share, 2)
    return Measurement(
        name=concept(name), value=percent, unit=concept(PERCENT), referenced_coordinates=within
    )


def _closed(outline: Outline, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return an outline in pixels, with the corner of the first one at 0, 0; the last point closes the line (PS3.3, C.18.6.1.2)."""
    return np.asarray((*outline.points, outline.points[0])) * size


def _regions(
    source: Source, finding: Finding, writer: Writer, uids: ResultUids, size: tuple[int, int]
) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """Return a group for each region (TID 1410): outline, side, and share of the evidence."""
    image = SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid)
    groups = []
    for number, region in enumerate(finding.regions, 1):
        groups.append(
            PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=uids.tracking_of(number),
                    identifier=f"Region {number} of evidence for pneumonia on this film",
                ),
                referenced_region=ImageRegion("POLYLINE", _closed(region, size), image),
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


# The presentation state: outlines of lungs and regions over the original film, for any viewer (GSPS; PS3.3, A.33.1)

_STATE_SERIES_NUMBER = 9703
_LAYERS = (
    ("LUNGS", "Outlines of the lungs", (54000, 33000, 50000)),
    ("REGIONS", "Regions of evidence for pneumonia", (55000, 24000, 28000)),
)
_ASPECT_RATIO = 0x0028_0034
_OF_FILM = frozenset((*Tag, _ASPECT_RATIO))


def make_state(
    data: bytes, source: Source, finding: Finding, writer: Writer, uids: ResultUids, made_at: datetime
) -> bytes | None:
    """Return a presentation state as the bytes of a DICOM file; None for a film without regions or without a plain window.

    It shows the film as its header asks, with window and polarity, because a viewer takes both from the presentation state alone. A film
    whose header has a look-up table instead of a window has no presentation state.

    Args:
        data: All bytes of the film's file.
        source: What `read_source` returned for them.
        finding: With its regions and lungs.
        writer: What found it.
        uids: Of the results.
        made_at: In the film's time zone.
    """
    header = open_file(data, "the film", max_inflated=MAX_INFLATED, wanted=_OF_FILM).header
    if (
        not finding.regions
        or Tag.MODALITY_LUT in header
        or Tag.VOI_LUT in header
        or header.integer(Tag.SAMPLES, 1) > 1
    ):
        return None
    state = Dataset()
    state.file_meta = FileMetaDataset()
    meta = state.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(STATE_CLASS), UID(uids.state)
    state.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    state.SOPClassUID, state.SOPInstanceUID = STATE_CLASS, uids.state
    state.Modality, state.SeriesInstanceUID, state.SeriesNumber = (
        "PR",
        uids.state_series,
        _STATE_SERIES_NUMBER,
    )
    state.SeriesDescription, state.InstanceNumber, state.BodyPartExamined = STATE_SERIES, 1, "CHEST"
    state.Manufacturer, state.ManufacturerModelName = plain(writer.manufacturer), MODEL_NAME
    state.ContentLabel = "PNEUMOSCAN"
    state.ContentDescription = f"Outlines of lungs and evidence. {NOTICE}"[:64]
    state.ContentCreatorName = ""
    set_origin(state, writer, made_at)
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    del state.ContentDate, state.ContentTime
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = (
        source.sop_class_uid,
        source.sop_instance_uid,
    )
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = source.series_instance_uid, [image]
    state.ReferencedSeriesSequence = [series]
    size = header.integer(Tag.COLUMNS), header.integer(Tag.ROWS)
    state.DisplayedAreaSelectionSequence = [_area(header, size)]
    state.GraphicAnnotationSequence = [
        _annotation("LUNGS", image, finding.lungs, size),
        _annotation("REGIONS", image, finding.regions, size),
    ]
    state.GraphicLayerSequence = [_layer(number, *layer) for number, layer in enumerate(_LAYERS, 1)]
    if Tag.RESCALE_SLOPE in header and Tag.RESCALE_INTERCEPT in header:
        state.RescaleIntercept, state.RescaleSlope = (
            _text(header, Tag.RESCALE_INTERCEPT),
            _text(header, Tag.RESCALE_SLOPE),
        )
        state.RescaleType = "US"
    if Tag.WINDOW_CENTER in header and Tag.WINDOW_WIDTH in header:
        window = Dataset()
        window.WindowCenter, window.WindowWidth = (
            _text(header, Tag.WINDOW_CENTER),
            _text(header, Tag.WINDOW_WIDTH),
        )
        if header.text(Tag.WINDOW_FUNCTION) in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
            window.VOILUTFunction = header.text(Tag.WINDOW_FUNCTION)
        state.SoftcopyVOILUTSequence = [window]
    inverse = header.text(Tag.PHOTOMETRIC) == "MONOCHROME1" or header.text(Tag.LUT_SHAPE) == "INVERSE"
    state.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    return template_of(state, {}).fill({}, source.identity)


def _text(header: DataSet, tag: Tag) -> str:
    """Return the first value of a decimal string as it stands; raises FilmValueError if it is no number."""
    header.number(tag)
    return header.text(tag)


def _area(header: DataSet, size: tuple[int, int]) -> Dataset:
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], list(size)
    area.PresentationSizeMode = "SCALE TO FIT"
    ratio = header.raw(_ASPECT_RATIO).decode("latin-1").strip(" \0").split("\\")
    legal = len(ratio) == 2 and all(part.strip().isdigit() and 0 < int(part) < 1 << 31 for part in ratio)
    area.PresentationPixelAspectRatio = [int(part) for part in ratio] if legal else [1, 1]
    return area


def _annotation(layer: str, image: Dataset, outlines: Iterable[Outline], size: tuple[int, int]) -> Dataset:
    """Return outlines as closed lines of one layer; regions with their share of the evidence, lungs with their side."""
    annotation = Dataset()
    annotation.ReferencedImageSequence, annotation.GraphicLayer = [image], layer
    graphics, texts = [], []
    for outline in outlines:
        points = _closed(outline, size)
        graphic = Dataset()
        graphic.GraphicAnnotationUnits, graphic.GraphicDimensions = "PIXEL", 2
        graphic.NumberOfGraphicPoints = len(points)
        graphic.GraphicData = points.astype(np.float32).ravel().tolist()
        graphic.GraphicType, graphic.GraphicFilled = "POLYLINE", "N"
        graphics.append(graphic)
        text = Dataset()
        text.AnchorPointAnnotationUnits, text.AnchorPointVisibility = "PIXEL", "N"
        anchor = points[points[:, 1].argmin()].astype(np.float32).tolist()
        text.AnchorPoint = anchor
        text.UnformattedTextValue = (
            f"{100 * outline.share:.0f}% of evidence" if outline.share else outline.side[0].upper()
        )
        texts.append(text)
    annotation.TextObjectSequence, annotation.GraphicObjectSequence = texts, graphics
    return annotation


def _layer(order: int, name: str, description: str, colour: tuple[int, int, int]) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = name, order, description
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(colour)
    return layer
