"""What readers say of the answers: on the page, in the reader's file, and as CSV."""

import csv
import io
import re
from typing import Any

import pytest

from pneumoscan.verdicts import VerdictFile

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)").expect
TEN = 10


def ten(films: dict[str, bytes]) -> dict[str, bytes]:
    return dict(list(films.items())[:TEN])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def saved(visit: Any, button: str = "#export-verdicts") -> str:
    visit.page.click("#export summary")
    with visit.page.expect_download() as waiting:
        visit.page.click(button)
    return waiting.value.path().read_bytes().decode()


def test_ten_films_are_judged_with_the_keyboard_alone(visits, twenty_films):
    visit = visits.open(accept_downloads=True)
    visit.drop(ten(twenty_films))
    visit.wait_for(TEN)
    keys, page = visit.page.keyboard, visit.page
    page.focus("#worklist")
    keys.press("Home")
    given = {}
    for number in range(TEN):
        name = page.inner_text("#film-name")
        word = ("agree", "disagree", "cannot_say")[number % 3]
        keys.press({"agree": "a", "disagree": "d", "cannot_say": "c"}[word])
        if number == 1:
            keys.press("n")
            keys.type("a scar, adjacent to the hilum")
            keys.press("Enter")
        given[name] = word
        expect(page.locator(f"#{word}")).to_have_attribute("aria-pressed", "true")
        keys.press("j")
    assert len(given) == TEN
    expect(page.locator("#judging-state")).to_contain_text(f"{TEN} of {TEN} judged")
    counting = [row for row in rows(saved(visit)) if row["counts"] == "yes"]
    assert {row["path"]: row["verdict"] for row in counting} == given
    assert [row["note"] for row in counting if row["note"]] == ["a scar, adjacent to the hilum"]
    answers = visit.answers()
    for row in counting:
        assert answers[row["path"]][0] == row["label"]
        assert answers[row["path"]][2] == row["probability"]
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
        assert row["model"]
    visit.check_quiet()


def test_the_last_verdict_counts_and_the_earlier_ones_stay(visits, twenty_films):
    visit = visits.open(accept_downloads=True)
    visit.drop(ten(twenty_films))
    visit.wait_for(TEN)
    page = visit.page
    page.focus("#worklist")
    for key in ("a", "a", "d"):
        page.keyboard.press(key)
    name = page.inner_text("#film-name")
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.click("#cannot_say")
    page.fill("#reader", "AB")
    page.press("#reader", "Enter")
    told = rows(saved(visit))
    assert [(row["path"], row["verdict"]) for row in told if row["counts"] == "yes"] == [(name, "disagree")]
    assert [row["verdict"] for row in told if not row["reader"]][:2] == ["agree", "disagree"]
    assert {row["reader"] for row in told if row["counts"] == "yes"} == {"AB"}
    page.fill("#reader", "CD")
    page.press("#reader", "Enter")
    expect(page.locator("#judging-state")).to_contain_text("0 of 10 judged")


def test_the_list_shows_what_is_left(visits, twenty_films):
    visit = visits.open()
    visit.drop(ten(twenty_films))
    visit.wait_for(TEN)
    page = visit.page
    page.focus("#worklist")
    page.keyboard.press("Home")
    for key in ("a", "j", "d", "j", "c", "j"):
        page.keyboard.press(key)
    page.select_option("#show", "left")
    expect(page.locator(".film")).to_have_count(7)
    for word in ("disagree", "cannot_say", "agree"):
        page.select_option("#show", word)
        # The selected film stays in the list.
        expect(page.locator(".film")).to_have_count(2)
        expect(page.locator(f".judged:text-is('{word.replace('_', ' ')}')")).to_have_count(1)
    page.select_option("#show", "left")
    seen = set()
    for _ in range(7):
        page.keyboard.press("u")
        seen.add(page.inner_text("#film-name"))
        page.keyboard.press("a")
    assert len(seen) == 7
    expect(page.locator("#judging-state")).to_contain_text("10 of 10 judged")
    page.keyboard.press("u")
    expect(page.locator("#live")).to_have_text("No film is left to judge.")


def test_saved_verdicts_are_taken_up_again(visits, twenty_films):
    visit = visits.open(accept_downloads=True)
    films = ten(twenty_films)
    visit.drop(films)
    visit.wait_for(TEN)
    page = visit.page
    page.fill("#reader", '=A"B')
    page.press("#reader", "Enter")
    page.focus("#worklist")
    page.keyboard.press("d")
    page.fill("#note", '=note, with "quotes"')
    page.press("#note", "Enter")
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.type), dialog.accept()))
    text = saved(visit)
    page.reload()
    visit.drop({**films, "verdicts.csv": text.encode()})
    visit.wait_for(TEN)
    page.select_option("#show", "disagree")
    page.click(".film:has(.judged:text-is('disagree'))")
    expect(page.locator("#note")).to_have_value('=note, with "quotes"')
    expect(page.locator("#reader")).to_have_value('=A"B')
    assert saved(visit) == text


def test_a_note_alone_is_no_verdict(visits, twenty_films):
    visit = visits.open(accept_downloads=True)
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    visit.page.fill("#note", "look again\tlater")
    visit.page.press("#note", "Enter")
    expect(visit.page.locator("#judging-state")).to_contain_text("0 of 1 judged")
    (row,) = rows(saved(visit))
    assert (row["verdict"], row["note"], row["counts"]) == ("none", "look again later", "no")
    visit.page.keyboard.press("a")
    assert rows(saved(visit))[-1]["note"] == "look again later"


def test_a_file_of_the_reader_has_each_verdict_once(visits, keeping_service, twenty_films):
    address, path = keeping_service
    visit = visits.open(at=address)
    visit.drop(ten(twenty_films))
    visit.wait_for(TEN)
    page, lost = visit.page, []

    def lose(route: Any) -> None:
        """Let the first one in, and lose its answer; the page must send it again."""
        if lost or route.request.method != "POST":
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort("connectionreset")

    page.route("**/v1/verdicts", lose)
    page.focus("#worklist")
    page.keyboard.press("d")
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("#judging-state")).to_contain_text(f"Kept in {path.name}", timeout=20_000)
    assert lost == [200]
    kept = VerdictFile(path).all()
    assert [one.verdict for one in kept] == ["disagree", "agree"]
    again = visits.open(at=address)
    again.drop(ten(twenty_films))
    again.wait_for(TEN)
    expect(again.page.locator(".judged:text-is('disagree')")).to_have_count(1)
    expect(again.page.locator("#judging-state")).to_contain_text("2 of 10 judged")


def test_a_result_is_saved_as_pdf(visits, twenty_films):
    pytest.importorskip("reportlab", reason="reportlab is not installed (extra pdf)")
    visit = visits.open(accept_downloads=True)
    visit.drop({"film ü.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    visit.page.click("#export summary")
    with visit.page.expect_download() as waiting:
        visit.page.click("#pdf-one")
    assert waiting.value.suggested_filename == "film ü.pdf"
    assert waiting.value.path().read_bytes().startswith(b"%PDF-")
    visit.check_quiet()
