"""Results into the PACS: what is there already is not sent again, and what was sent is looked for."""

from collections.abc import Mapping

from pneumoscan.apps.node.pacs import Pacs
from pneumoscan.errors import PacsAnswerError


def send(pacs: Pacs, study_instance_uid: str, objects: Mapping[str, bytes]) -> int:
    """Send those objects that the PACS does not have; return how many these were.

    Args:
        pacs: The PACS.
        study_instance_uid: Of the study that they belong to.
        objects: By SOP instance UID, their files.

    Raises:
        PacsAwayError, PacsAnswerError: Some may be stored nevertheless; calling again is safe.
    """
    missing = absent(pacs, study_instance_uid, objects)
    if missing:
        stored = pacs.store(study_instance_uid, [objects[uid] for uid in missing])
        if not set(missing) <= stored:
            raise PacsAnswerError(
                "the PACS does not name every result that it was sent.", "Ask its administrator."
            )
    return len(missing)


def absent(pacs: Pacs, study_instance_uid: str, uids: Mapping[str, bytes] | tuple[str, ...]) -> list[str]:
    """Return those UIDs that no query finds; raises as `Pacs.search`."""
    return [uid for uid in uids if not pacs.has(uid, study_instance_uid)]
