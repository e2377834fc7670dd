"""The presentation state: outlines of lungs and regions over the original film, for any viewer (GSPS; PS3.3, A.33.1).

It shows the film as its header asks, with window and polarity, because a viewer takes both from the presentation state alone. A film
whose header has a look-up table instead of a window has no presentation state.
"""

from collections.abc import Iterable
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pneumoscan.imaging.dicom.elements import DataSet, Tag
from pneumoscan.imaging.dicom.file import open_file
from pneumoscan.imaging.film import MAX_INFLATED
from pneumoscan.node.header import MODEL_NAME, STATE_SERIES, Source
from pneumoscan.node.results.finding import NOTICE, STATE_CLASS, Finding, Outline, ResultUids, Writer, plain
from pneumoscan.node.results.objects import set_origin, template_of

_SERIES_NUMBER = 9703
_LAYERS = (
    ("LUNGS", "Outlines of the lungs", (54000, 33000, 50000)),
    ("REGIONS", "Regions of evidence for pneumonia", (55000, 24000, 28000)),
)
_ASPECT_RATIO = 0x0028_0034
_WANTED = frozenset((*Tag, _ASPECT_RATIO))


def make_state(
    data: bytes, source: Source, finding: Finding, writer: Writer, uids: ResultUids, made_at: datetime
) -> bytes | None:
    """Return a presentation state as the bytes of a DICOM file; None for a film without regions or without a plain window.

    Args:
        data: All bytes of the film's file.
        source: What `read_source` returned for them.
        finding: With its regions and lungs.
        writer: What found it.
        uids: Of the results.
        made_at: In the film's time zone.
    """
    header = open_file(data, "the film", max_inflated=MAX_INFLATED, wanted=_WANTED).header
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
    state.Modality, state.SeriesInstanceUID, state.SeriesNumber = "PR", uids.state_series, _SERIES_NUMBER
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
        points = np.asarray((*outline.points, outline.points[0])) * size
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
