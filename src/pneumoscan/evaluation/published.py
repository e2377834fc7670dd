"""Published results on the official test split of the Kaggle set "Chest X-Ray Images (Pneumonia)"."""

from dataclasses import dataclass

from pneumoscan.evaluation.markup import percent, score, table_row

OFFICIAL_TEST = (624, 390)
"""Films of the official test split, and how many of them show pneumonia."""


@dataclass(frozen=True)
class PublishedResult:
    """What a publication reports for the official test split.

    Attributes:
        model: The network, and who published it.
        accuracy: Share of films that are classified correctly, in [0, 1].
        f1: F-score, in [0, 1]; None where it is not reported.
        roc_auc: Area under the ROC curve, in [0, 1]; None where it is not reported.
    """

    model: str
    accuracy: float
    f1: float | None = None
    roc_auc: float | None = None


PUBLISHED = (
    PublishedResult("the article whose network our baseline rebuilds", 0.904, f1=0.856),
    PublishedResult("Inception V3 with ImageNet weights, Kermany et al., Cell 2018", 0.928, roc_auc=0.968),
    PublishedResult("Google AutoML Vision at 28×28 pixels, Yang et al., Sci Data 2023", 0.946, roc_auc=0.991),
)
"""The results that pneumoscan is compared with, by rising accuracy."""


def published_section(split: str, n: int, n_positive: int) -> str:
    """Return the published results as a section of the report, or nothing if the films are not the official test split.

    Args:
        split: Name of the split.
        n: Films that were evaluated.
        n_positive: How many of them show pneumonia.
    """
    if split != "test" or (n, n_positive) != OFFICIAL_TEST:
        return ""
    rows = "".join(
        table_row(one.model, (percent(one.accuracy), score(one.f1), score(one.roc_auc))) for one in PUBLISHED
    )
    return (
        "<section><h2>Published results on the official test split</h2><table><thead><tr><th>model</th><th>accuracy</th>"
        f"<th>F1</th><th>area under ROC</th></tr></thead><tbody>{rows}</tbody></table><p class='note'>These films have the "
        "numbers of the official test split (624 films, 390 with pneumonia). A figure compares with these only if no choice "
        "was made on the films.</p></section>"
    )
