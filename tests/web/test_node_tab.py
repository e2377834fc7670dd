"""The tab of the hospital node: shown where one is watched, and nowhere else."""

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)").expect
SHARES = {"refused_share": 0.1, "unsure_share": 0.12, "not_a_chest_film_share": None}
WEEK = {
    "week": "2026-W10",
    "device": "",
    "found": 120,
    "read": 108,
    "refused": 12,
    "score_quantiles": [0.1, 0.2, 0.345, 0.6, 0.9],
    "seconds_median": 2.0,
    "seconds_95": None,
    **SHARES,
}
TOLD = {
    "at": "2026-03-10T08:00:00+00:00",
    "counts": {
        "found": 3,
        "fetched": 0,
        "made": 0,
        "stored": 1,
        "done": 1108,
        "refused": 12,
        "conflict": 0,
        "parked": 1,
    },
    "codes": [{"state": "refused", "code": "film.view", "count": 12}],
    "weeks": [WEEK, {**WEEK, "device": "<b>Maker</b>"}],
    "differs": True,
    "sentences": ["The median score on all devices together is higher."],
}


def answering(told: Any) -> dict[str, Any]:
    return {"**/v1/node": lambda route: route.fulfill(json={"node": told})}


def test_a_node_has_a_tab_with_what_it_has_read(visits: Any) -> None:
    visit = visits.open(routes=answering(TOLD))
    visit.page.wait_for_selector("#tab-node:not([hidden])")
    visit.page.click("#tab-node")
    said = visit.page.inner_text("#panel-node")
    for part in (
        "1,125 objects were found",
        "is higher",
        "film.view",
        "2026-W10",
        "<b>Maker</b>",
        "0.345",
        "12.0%",
    ):
        assert part in said
    expect(visit.page.locator("#panel-node .cautions li")).to_have_count(1)
    visit.check_quiet()


def test_without_a_node_there_is_no_tab(visits: Any) -> None:
    visit = visits.open()
    visit.page.wait_for_selector("#model:not(:empty)", state="attached")
    visit.page.wait_for_timeout(300)
    expect(visit.page.locator("#tab-node")).to_be_hidden()
    visit.page.press("#tab-performance", "ArrowRight")
    expect(visit.page.locator("#tab-films")).to_have_attribute("aria-selected", "true")
    visit.check_quiet()


FILM = {
    "id": 12, "device": "Maker", "study_date": "20260105", "label": "PNEUMONIA", "threshold": 0.5, "operating_point": "balanced",
    "model": "m@0123456789ab", "done_at": 1.0, "probability": 0.75, "warnings": ["near_threshold"],
    "picture": True, "verdicts": [],
}  # fmt: skip


def test_films_of_a_node_are_judged_in_its_tab(visits: Any, twenty_films: dict[str, bytes]) -> None:
    films = [
        FILM,
        {**FILM, "id": 11, "picture": False, "label": "NORMAL", "probability": 0.1, "warnings": []},
    ]
    sent: list[dict[str, Any]] = []

    def verdicts(route: Any) -> None:
        if route.request.method == "POST":
            sent.append(route.request.post_data_json)
            route.fulfill(json={"kept": True})
        else:
            route.fulfill(json={"films": films})

    picture = twenty_films["film 01.jpeg"]
    routes = {
        **answering(TOLD),
        "**/v1/node/verdicts": verdicts,
        "**/v1/node/pictures/12": lambda route: route.fulfill(body=picture, content_type="image/jpeg"),
    }
    visit = visits.open(routes=routes)
    page = visit.page
    page.wait_for_selector("#tab-node:not([hidden])")
    page.click("#tab-node")
    page.wait_for_selector(".node-picture:not([hidden])")
    expect(page.locator("#node-films")).to_contain_text("Object 12")
    expect(page.locator("#node-films")).to_contain_text("0.7500")
    page.fill("#node-films .note-line:has-text('Reader') input", "AB")
    page.press("#node-films .note-line:has-text('Reader') input", "Tab")
    page.click("#node-films button[data-verdict=disagree]")
    expect(page.locator("#node-films button[data-verdict=disagree]")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert [(one["object"], one["reader"], one["verdict"]) for one in sent] == [(12, "AB", "disagree")]
    page.click("#node-films button:has-text('Older')")
    expect(page.locator("#node-films")).to_contain_text("Object 11")
    expect(page.locator(".node-picture")).to_be_hidden()
    page.check("#node-films input[type=checkbox]")
    page.click("#node-films button:has-text('Newer')")
    expect(page.locator("#node-films")).to_contain_text("Object 11")
    visit.check_quiet()
