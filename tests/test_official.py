"""The README and the model card tell the blind figures as they are on record."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OFFICIAL = ROOT / "results" / "official"
RECORD = OFFICIAL / "record.json"

pytestmark = pytest.mark.skipif(not RECORD.is_file(), reason="the results are not part of this distribution")


def figures(folder: str) -> tuple[str, str]:
    """Return how a record's accuracy and area under ROC are written."""
    metrics = json.loads((OFFICIAL / folder / "metrics.json").read_text(encoding="utf-8"))
    counts = metrics["confusion"]
    assert metrics["split"] == "test"
    right = counts["tp"] + counts["tn"]
    assert right / metrics["n"] == pytest.approx(metrics["accuracy"])
    low, high = metrics["accuracy_ci95"]
    return f"{right} of {metrics['n']}", f"{100 * low:.1f} to {100 * high:.1f}%"


def test_the_readme_tells_the_figures_of_the_record() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = json.loads(RECORD.read_text(encoding="utf-8"))
    for look in told["looks"]:
        right, bounds = figures(look["folder"])
        assert right in text
        assert bounds in text
    for one in told["elsewhere"]:
        row = next(line for line in text.splitlines() if f"{one['n']:,} adults" in line)
        assert f"{one['roc_auc']:.3f}" in row
        assert f"{one['warned']} of {one['n']:,}" in row


def test_the_model_card_tells_the_figures_of_the_record() -> None:
    text = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    for look in json.loads(RECORD.read_text(encoding="utf-8"))["looks"]:
        assert figures(look["folder"])[0] in text
