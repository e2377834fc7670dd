"""Results into the PACS: what is there already is not sent again, and what was sent is looked for.

The results for several films go in one request, and one query looks for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pneumoscan.apps.node.pacs.dicomweb import Pacs
from pneumoscan.errors import PacsAnswerError


@dataclass(frozen=True)
class Results:
    """The results for one film.

    Attributes:
        study_instance_uid: Of the film's study, to which they belong as well.
        objects: By SOP instance UID, their files.
    """

    study_instance_uid: str
    objects: Mapping[str, bytes] = field(repr=False)


def send(pacs: Pacs, films: Sequence[Results]) -> list[PacsAnswerError | None]:
    """Send those objects that the PACS does not have.

    Args:
        pacs: The PACS.
        films: The results for several films.

    Returns:
        For each film what went wrong; None where the PACS names all that was sent.

    Raises:
        PacsAwayError, PacsAnswerError: Some may be stored nevertheless; calling again is safe.
    """
    missing = pacs.missing({uid: one.study_instance_uid for one in films for uid in one.objects}, sure=False)
    waiting = [one for one in films if missing & one.objects.keys()]
    refused: dict[str, str] = {}
    stored = _stored(pacs, waiting, missing, refused) if waiting else frozenset()
    problems = [_problem((missing & one.objects.keys()) - stored, refused) for one in films]
    if refused and not stored and len(waiting) > 1:
        # One may be the reason why none is stored: the caller sends them one by one.
        raise next(problem for problem in problems if problem is not None)
    return problems


def _stored(
    pacs: Pacs, films: Sequence[Results], missing: set[str], refused: dict[str, str]
) -> frozenset[str]:
    studies = {one.study_instance_uid for one in films}
    objects = [content for one in films for uid, content in one.objects.items() if uid in missing]
    return pacs.store(studies.pop() if len(studies) == 1 else "", objects, refused=refused)


def _problem(left: set[str], refused: Mapping[str, str]) -> PacsAnswerError | None:
    """Return what went wrong with the results of a film of which some are not stored."""
    if not left:
        return None
    reasons = sorted({refused[uid] for uid in left & refused.keys()})
    if reasons:
        return PacsAnswerError(
            f"the PACS does not store {'; '.join(reasons)}.",
            "Ask its administrator to accept them by STOW-RS.",
        )
    return PacsAnswerError("the PACS does not name every result that it was sent.", _ASK)


def confirm(pacs: Pacs, films: Sequence[Mapping[str, str]]) -> list[PacsAnswerError | None]:
    """See that queries find the results.

    Args:
        pacs: The PACS.
        films: For each film, the study instance UID of each of its results by the result's SOP instance UID.

    Returns:
        For each film what went wrong; None where all its results are found.

    Raises:
        PacsAwayError, PacsAnswerError: See `Pacs.missing`.
    """
    missing = pacs.missing({uid: study for one in films for uid, study in one.items()})
    problem = PacsAnswerError("a result that was stored is not found in the PACS.", _ASK)
    return [problem if missing & one.keys() else None for one in films]


_ASK = "Ask its administrator."
