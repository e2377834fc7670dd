"""The UIDs of results: made from what the result rests on, so that the same answer to the same film is the same object."""

import hashlib
import json

from pneumoscan.apps.node.results.finding import ResultUids, Writer


def result_uids(source_sop_instance_uid: str, pixels_sha256: str, writer: Writer) -> ResultUids:
    """Return the UIDs of the results for one film by one writer.

    Each is `2.25.` and the first 128 bits of a SHA-256 as a decimal number (PS3.5, B.2), over the kind, the film's SOP
    Instance UID, its pixels, both files of the model, the operating point, the threshold, and the version of pneumoscan.

    Args:
        source_sop_instance_uid: Of the film.
        pixels_sha256: Of the film's decoded pixels, 64 hexadecimal digits (`pixels_sha256_of`).
        writer: What makes the results.
    """
    origin = [
        writer.model_json_sha256,
        writer.onnx_sha256,
        writer.operating_point,
        repr(float(writer.threshold)),
        writer.pneumoscan_version,
    ]
    film = [source_sop_instance_uid, pixels_sha256]
    return ResultUids(
        report=_uid("report", film, origin),
        report_series=_uid("report series", film, origin),
        picture=_uid("picture", film, origin),
        picture_series=_uid("picture series", film, origin),
        tracking=_uid("finding", film, origin),
        device=_uid("device", [], origin),
    )


def _uid(kind: str, film: list[str], origin: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(["pneumoscan", kind, film, origin]).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
