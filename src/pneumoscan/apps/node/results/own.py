"""Tell our own results from films, for they come back: a PACS lists and forwards what was stored in it."""

from typing import TYPE_CHECKING

from pneumoscan.imaging.dicom.admission import OWN_DEVICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.dataset import Dataset

MODEL_NAME = OWN_DEVICE
REPORT_SERIES = "pneumoscan: report"
PICTURE_SERIES = "pneumoscan: picture"


def is_own_result(header: "Dataset | Mapping[str, str]") -> bool:
    """Tell whether an object is a report or picture that pneumoscan made, of any version and by any node.

    Results are known by the device that they name and by the description of their series, whichever a PACS tells or leaves
    as it was. Ask for both in a query: Manufacturer's Model Name (0008,1090) and Series Description (0008,103E).

    Args:
        header: Of the object, or the answer to a query for it; or values by their keywords.
    """
    device = str(header.get("ManufacturerModelName") or "").strip()
    series = str(header.get("SeriesDescription") or "").strip()
    return device.casefold() == MODEL_NAME or series in {REPORT_SERIES, PICTURE_SERIES}
