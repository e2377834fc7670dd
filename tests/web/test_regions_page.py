"""Outlines on the page: the lungs and the regions of evidence in them, their keys, their words, and their print."""

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)").expect
LINE = (94, 234, 255)
# On a canvas of its own: the page's is not for reading.
_COUNT = """([selector, colour]) => {
  const shown = document.querySelector(selector);
  const { width, height } = shown;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  let found = 0;
  for (let i = 0; i < data.length; i += 4)
    if (colour.every((value, c) => Math.abs(data[i + c] - value) < 30)) found += 1;
  return found;
}"""


def _lines(visit: Any, canvas: str = "#film") -> int:
    return int(visit.page.evaluate(_COUNT, [canvas, list(LINE)]))


def test_regions_are_outlined_and_their_key_hides_them(lungs_visit: Any) -> None:
    expect(lungs_visit.page.locator(".film")).to_have_attribute("data-label", "PNEUMONIA")
    shown = _lines(lungs_visit)
    assert shown > 100
    lungs_visit.page.keyboard.press("e")
    expect(lungs_visit.page.locator("#regions")).to_have_attribute("aria-pressed", "false")
    assert _lines(lungs_visit) < shown / 10
    lungs_visit.page.keyboard.press("e")
    assert _lines(lungs_visit) == shown


def test_key_of_the_lungs_hides_their_outline_and_leaves_the_regions(lungs_visit: Any) -> None:
    shown = _lines(lungs_visit)
    lungs_visit.page.keyboard.press("l")
    expect(lungs_visit.page.locator("#lungs")).to_have_attribute("aria-pressed", "false")
    assert _lines(lungs_visit) >= 0.9 * shown
    lungs_visit.page.keyboard.press("l")
    expect(lungs_visit.page.locator("#lungs")).to_have_attribute("aria-pressed", "true")


def test_shares_and_what_was_measured_are_told(lungs_visit: Any) -> None:
    words = lungs_visit.page.locator("#evidence").inner_text()
    assert all(
        text in words
        for text in ("right lung field with evidence", "left lung field with evidence", "75%", "25%")
    )
    assert "right lung field" in lungs_visit.page.locator("#film").get_attribute("aria-label")


def test_normal_film_has_no_regions(lungs_visit: Any) -> None:
    lungs_visit.page.locator("#threshold").fill("1")
    lungs_visit.page.keyboard.press("Enter")
    lungs_visit.painted()
    expect(lungs_visit.page.locator(".film")).to_have_attribute("data-label", "NORMAL")
    expect(lungs_visit.page.locator("#evidence")).to_have_count(0)
    assert _lines(lungs_visit) == 0
    lungs_visit.page.locator("#threshold").fill("0.01")
    lungs_visit.page.keyboard.press("Enter")
    lungs_visit.painted()
    assert _lines(lungs_visit) > 100


def test_print_has_the_outlines_and_the_words(lungs_visit: Any) -> None:
    lungs_visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    sheet = lungs_visit.page.locator(".sheet")
    assert "lung field with evidence" in sheet.inner_text()
    assert _lines(lungs_visit, ".sheet canvas") > 100
    lungs_visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
