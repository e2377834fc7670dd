"""README, model card and results report the figures of the official test split, and of the shipped model, as they are on record.

A figure that changes on record changes the row that is expected; the failure prints the row to write.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pneumoscan.bundle.contents import SHIPPED
from pneumoscan.bundle.load import load_bundle
from pneumoscan.card.model_card import elsewhere
from pneumoscan.evaluate.report import PUBLISHED

ROOT = Path(__file__).parents[1]
OFFICIAL = ROOT / "results" / "official"
RECORD = OFFICIAL / "record.json"

pytestmark = pytest.mark.skipif(not RECORD.is_file(), reason="the results are not part of this distribution")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rate(value: float, bounds: list[float] | None = None) -> str:
    """Return `96.2% (94.3 to 97.4%)`."""
    return f"{100 * value:.1f}%" + (f" ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}%)" if bounds else "")


def area(value: float, bounds: list[float] | None) -> str:
    """Return `0.987 (0.979 to 0.993)`."""
    return f"{value:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")


def table_row(*cells: object) -> str:
    return f"| {' | '.join('–' if cell is None else str(cell) for cell in cells)} |"


def look_rows() -> dict[str, str]:
    """Return a row for each look at the official test split, by model."""
    rows = {}
    for look in read_json(RECORD)["looks"]:
        m = read_json(OFFICIAL / look["folder"] / "metrics.json")
        right = m["confusion"]["tp"] + m["confusion"]["tn"]
        assert (m["split"], m["n"], m["n_refused"]) == ("test", 624, 0)
        assert right / m["n"] == pytest.approx(m["accuracy"])
        rows[look["model"]] = table_row(
            f"`{look['model']}`, evaluated blind on {look['date']}",
            f"{right} of {m['n']}",
            rate(m["accuracy"], m["accuracy_ci95"]),
            f"{m['f1']:.3f}",
            area(m["roc_auc"], m["roc_auc_ci95"]),
        )
    return rows


def official_rows() -> Iterator[str]:
    """Yield the rows of the looks and of published results, and the table of other hospitals."""
    yield from look_rows().values()
    for one in PUBLISHED:
        f1, roc_auc = (None if value is None else f"{value:.3f}" for value in (one.f1, one.roc_auc))
        yield table_row(f"published: {one.model}", None, rate(one.accuracy), f1, roc_auc)
    yield from elsewhere(read_json(RECORD)["elsewhere"])


def baseline_rows() -> Iterator[str]:
    """Yield the row of the network of the study over its seeds."""
    seeds = [read_json(path) for path in sorted((ROOT / "results" / "baseline").glob("seed-*/metrics.json"))]
    right, areas = [100 * m["accuracy"] for m in seeds], [m["roc_auc"] for m in seeds]
    yield table_row(
        f"the network of the study (`baseline`), {len(seeds)} seeds; films of held-out patients",
        f"{seeds[0]['n']:,}",
        f"{min(areas):.3f} to {max(areas):.3f}",
        f"{min(right):.1f} to {max(right):.1f}%",
    )


PAGES = {
    official_rows: "results/official/README.md",
    baseline_rows: "results/flagship-3-children/README.md",
}


@pytest.mark.parametrize("rows", PAGES)
def test_the_pages_have_the_rows_of_the_records(rows):
    lines = (ROOT / PAGES[rows]).read_text(encoding="utf-8").splitlines()
    missing = [row for row in rows() if row not in lines]
    assert not missing, f"{PAGES[rows]} lacks:\n" + "\n".join(missing)


def test_the_readme_has_three_rows_of_figures_and_links_to_all():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = look_rows()
    shown = [model for model, row in rows.items() if row in text.splitlines()]
    assert len(shown) == 3, "the rows are:\n" + "\n".join(rows.values())
    assert {model.partition("@")[0] for model in shown} == {"baseline-seed0", "flagship-3", "flagship-seed0"}
    assert all(f"({page})" in text for page in (*PAGES.values(), "results/flagship-4/README.md"))


@pytest.mark.parametrize("page", ["README.md", "MODEL_CARD.md", "results/official/README.md"])
def test_no_page_claims_adults_without_saying_that_it_is_withdrawn(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = [part for part in text.split("\n\n") if "works for adults" in part or "AUC 0.877" in part]
    assert all("wrong" in part or "withdrawn" in part for part in parts)
    assert "withdrawn" in text


@pytest.mark.parametrize("page", ["README.md", "MODEL_CARD.md"])
def test_the_page_says_whether_the_shipped_model_was_evaluated_on_the_official_films(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    spec = load_bundle(SHIPPED).spec
    looked = any(look["model"].startswith(f"{spec.name}@") for look in read_json(RECORD)["looks"])
    denied = any(
        spec.name in sentence and "not been" in sentence
        for sentence in text.replace("\n", " ").split(". ")
        if "these films" in sentence or "on them" in sentence
    )
    assert denied is not looked


def test_the_model_card_has_the_figures_of_the_record():
    text = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    told = read_json(RECORD)
    for look in told["looks"]:
        m = read_json(OFFICIAL / look["folder"] / "metrics.json")
        row = next(line for line in text.splitlines() if line.startswith(f"| {look['model']} |"))
        assert f"{m['confusion']['tp'] + m['confusion']['tn']} of {m['n']}" in row
        assert area(m["roc_auc"], m["roc_auc_ci95"]) in row
    for one in told["elsewhere"]:
        line = next(
            line
            for line in text.splitlines()
            if line.startswith(f"| {one['films']} | {one['n']} | {one['truth']} |")
        )
        for figures in one["figures"].values():
            if "roc_auc" in figures:
                assert area(figures["roc_auc"], figures.get("roc_auc_ci95")) in line
            else:
                wrong = figures.get("wrong", figures.get("pneumonia"))
                assert f"{wrong} of {figures['answered']} answers" in line
