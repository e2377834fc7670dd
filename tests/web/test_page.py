"""The web viewer from end to end, in a real browser, against `pneumoscan serve`."""

import csv
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import abstention_of, find_in, predict_one, shown_to_work
from pneumoscan.imaging import read
from pneumoscan.rows import PredictionRow
from pneumoscan.web.about import about

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)").expect
GROUPS = ["PNEUMONIA", "UNSURE", "NORMAL", "NOT_A_CHEST_FILM", "REFUSED"]
SIZES = [(1280, 800), (1600, 1000), (1024, 768), (820, 1180)]
READ = 21
ABOUT_LUNGS = {"no_lungs", "one_lung", "lungs_cut", "unusual_lungs"}


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(pretrained_bundle())


@pytest.fixture(scope="module")
def rows(bundle, twenty_films, odd_files, tmp_path_factory):
    """What Python says of the same files: (row, lungs) by name."""
    folder, threshold, found = tmp_path_factory.mktemp("films"), bundle.spec.threshold(), {}
    for name, data in {**twenty_films, **odd_files}.items():
        path = folder / name
        path.write_bytes(data)
        row = predict_one(bundle, path, threshold)
        lungs = find_in(bundle, read(path), threshold).lungs if row.status == "ok" else None
        found[name] = (dataclasses.replace(row, path=name, error=row.error.replace(str(path), name)), lungs)
    del found["copy of 03.jpeg"]
    return found


@pytest.fixture(scope="module")
def dropped(lasting_visits, twenty_films, odd_files):
    """A page on which twenty films, a DICOM film, a broken one, a text file and a copy were dropped."""
    visit = lasting_visits.open(accept_downloads=True)
    visit.drop({**twenty_films, **odd_files})
    visit.wait_for(READ + 2)
    visit.shown()
    yield visit
    visit.check_quiet()


def called(bundle, row, lungs, threshold):
    """Call a film at another threshold, by Python; returns its row."""
    # What is no chest film has no probability, and no threshold changes that.
    probability = 0.0 if row.probability is None else row.probability
    abstention = abstention_of(bundle.spec, probability, None, threshold, lungs)
    label = abstention.label or bundle.spec.class_names[int(probability >= threshold)]
    own = tuple(word for word in row.warnings if word not in {"near_threshold", *ABOUT_LUNGS})
    return dataclasses.replace(row, label=label, warnings=own + abstention.warnings, threshold=threshold)


def in_order(answers):
    order = [(GROUPS.index(label), -float(number or 0)) for label, number, _ in answers.values()]
    return order == sorted(order)


def pixels(visit):
    """The film's canvas as the browser holds it, once all that was asked of it is drawn."""
    visit.painted()
    return visit.page.evaluate("document.getElementById('film').toDataURL('image/png')")


def after(visit, act):
    """Act, wait until the canvas shows something else, and return it."""
    before = pixels(visit)
    act()
    for _ in range(60):
        now = pixels(visit)
        if now != before:
            return now
        visit.page.wait_for_timeout(40)
    raise AssertionError("the film looks as it did")


def choose(visit, point):
    visit.page.check(f"input[value='{point}']", force=True)
    visit.painted()


# The list and the answers


def test_every_film_has_the_number_and_the_word_that_python_gives(dropped, rows):
    answers = dropped.answers()
    assert set(answers) == set(rows)
    for name, (row, _) in rows.items():
        label, number, title = answers[name]
        if row.status == "refused":
            assert (label, number) == ("REFUSED", "")
            continue
        assert label == row.label
        if label == "NOT_A_CHEST_FILM":
            assert (number, title) == ("", "")
            continue
        assert number == f"{row.probability:.4f}"
        assert title == np.format_float_positional(row.probability, unique=True, min_digits=6)


def test_the_most_suspicious_film_stands_first_and_what_is_no_film_apart(dropped, rows):
    answers = dropped.answers()
    assert in_order(answers)
    assert [name for name, (label, _, _) in answers.items() if label == "REFUSED"] == [
        "broken.jpeg",
        "letter.txt",
    ]
    groups = dropped.page.locator(".group").evaluate_all("all => all.map((group) => group.dataset.group)")
    assert groups == [name for name in GROUPS if any(label == name for label, _, _ in answers.values())]
    assert answers["film 06.jpeg"][0] == rows["film 06.jpeg"][0].label == "NOT_A_CHEST_FILM"


def test_a_film_that_came_twice_is_read_and_shown_once(dropped):
    expect(dropped.page.locator("#list-note")).to_contain_text("1 file is a copy of a film in the list")
    note = dropped.page.locator(".film", has_text="film 03.jpeg").locator(".note")
    expect(note).to_have_text("same film: copy of 03.jpeg")
    assert dropped.asked() == READ + 2


def test_at_most_four_films_are_under_way(dropped):
    assert 1 <= dropped.most_inflight <= 4


def test_every_film_has_its_thumbnail(dropped):
    drawn = """all => all.map((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(data).size > 20 && canvas.width <= 128; })"""
    dropped.painted()
    assert dropped.page.locator(".film canvas").evaluate_all(drawn) == [True] * READ


def test_a_refusal_is_told_in_words(dropped):
    dropped.page.click(".film:has-text('letter.txt')")
    text = dropped.page.inner_text("#result")
    for words in ("NOT READ", "film.format", "unknown format"):
        assert words in text
    assert "<bytes>" not in text
    expect(dropped.page.locator("#no-film")).to_have_text(re.compile(r"\s*This file was not read"))


def test_what_is_no_chest_film_has_neither_number_nor_heatmap_nor_rates(dropped):
    page = dropped.page
    page.click(".film:has-text('film 06.jpeg')")
    page.wait_for_selector(".verdict:has-text('NOT A CHEST FILM')")
    dropped.shown()
    expect(page.locator("#probability, .side .scale, #for-this-film")).to_have_count(0)
    expect(page.locator("#heat")).to_be_disabled()
    plain = pixels(dropped)
    page.keyboard.press("h")
    assert pixels(dropped) == plain
    expect(page.locator("#legend")).to_be_hidden()
    expect(page.locator(".consequences")).to_have_count(0)
    page.click("#result summary")
    page.wait_for_selector("#result details[open]")
    expect(page.locator("#result")).not_to_contain_text("Probability", use_inner_text=True)


def test_rates_and_what_to_expect_elsewhere_are_shown_film_by_film(dropped, rows, bundle):
    """Rates stand with films like those they were measured on; what a new hospital may expect, with every answer."""
    expected, seen = shown_to_work(bundle.spec), set()
    for name, (row, _) in rows.items():
        if row.status != "ok":
            continue
        answered = row.label != "NOT_A_CHEST_FILM"
        holds = answered and not ABOUT_LUNGS & set(row.warnings)
        dropped.page.click(f".film:has-text('{name}')")
        dropped.page.wait_for_selector(f"#film-name:has-text('{name}')")
        expect(dropped.page.locator(".consequences")).to_have_count(int(holds))
        expect(dropped.page.locator("#rates-of-others")).to_have_count(int(not holds))
        line = dropped.page.locator("#for-this-film")
        expect(line).to_have_count(int(answered))
        if answered:
            expect(line).to_have_text(expected, use_inner_text=True)
        seen.add(holds)
    assert False in seen


def test_the_welcome_says_what_to_expect_at_a_hospital_that_the_model_has_not_seen(visits, bundle):
    expect(visits.open().page.locator("#for-whom")).to_have_text(
        shown_to_work(bundle.spec), use_inner_text=True
    )


def test_the_result_has_scale_warnings_and_details(dropped, rows):
    name, row = next((name, row) for name, (row, _) in rows.items() if row.label == "UNSURE")
    page = dropped.page
    page.click(f".film:has-text('{name}')")
    page.wait_for_selector(".verdict:has-text('UNSURE')")
    words = page.locator(".warnings li").evaluate_all("all => all.map((item) => item.dataset.word)")
    assert words == list(row.warnings)
    exact = np.format_float_positional(row.probability, min_digits=6)
    expect(page.locator("#probability")).to_have_attribute("title", exact)
    scale = page.get_attribute(".side .scale", "aria-label")
    assert f"probability {row.probability:.4f}, operating point {row.threshold:.4f}" in scale
    page.click("#result summary")
    expect(page.locator("#result")).to_contain_text(row.model)
    expect(page.locator("#result")).to_contain_text("do not prove a cause")


# The operating point


def test_moving_the_operating_point_calls_everything_anew_without_a_request(dropped, rows, bundle):
    before, asked, calls = dropped.answers(), len(dropped.requests), set()
    points = {f"own-{name}": point["threshold"] for name, point in bundle.spec.thresholds.items()}
    curve = about(bundle)["records"]["operating_curve"]["points"]
    points["miss-50"] = max(point["threshold"] for point in curve if point["recall"] >= 0.98)
    for point, threshold in points.items():
        choose(dropped, point)
        check_labels(dropped, rows, bundle, threshold)
        calls.add(tuple(label for label, _, _ in dropped.answers().values()))
    # Thresholds between the films' own probabilities call some of them PNEUMONIA and others not, whichever model is shipped.
    own = sorted(row.probability for row, *_ in rows.values() if row.probability is not None)
    between = [f"{(own[place - 1] + own[place]) / 2:.4f}" for place in (len(own) // 4, len(own) // 2)]
    for value in ("0.999", "0.02", "1", "0", *between):
        dropped.page.fill("#threshold", value)
        dropped.page.press("#threshold", "Enter")
        check_labels(dropped, rows, bundle, float(value))
        calls.add(tuple(label for label, _, _ in dropped.answers().values()))
    choose(dropped, f"own-{bundle.spec.default_operating_point}")
    assert dropped.answers() == before
    assert len(calls) > 4
    assert len(dropped.requests) == asked


def check_labels(visit, rows, bundle, threshold):
    answers = visit.answers()
    assert in_order(answers)
    for name, (row, lungs) in rows.items():
        if row.status == "ok":
            assert answers[name][0] == called(bundle, row, lungs, threshold).label, (name, threshold)


def test_an_illegal_threshold_or_prevalence_changes_nothing(dropped):
    page, before = dropped.page, dropped.answers()
    for text in ("1.5", "-0.1", ""):
        page.fill("#threshold", text)
        page.press("#threshold", "Enter")
        expect(page.locator("#threshold")).to_have_attribute("aria-invalid", "true")
    said = page.inner_text("#meaning")
    page.fill("#prevalence", "100")
    expect(page.locator("#prevalence")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#meaning")).to_have_text(said, use_inner_text=True)
    page.fill("#prevalence", "10")
    assert dropped.answers() == before
    choose(dropped, "own-best_f1")
    choose(dropped, "own-balanced")
    expect(page.locator("#threshold")).not_to_have_value("")


def test_the_prevalence_is_turned_into_numbers_of_films(dropped, bundle):
    point = bundle.spec.thresholds["balanced"]
    choose(dropped, "own-balanced")
    dropped.page.fill("#prevalence", "2")
    text = dropped.page.inner_text("#meaning")
    assert "Of 1,000 films, 20 with pneumonia" in text
    expect(dropped.page.locator("[data-kind=found]")).to_contain_text(f"{point['recall'] * 20:.1f}")
    called_films = point["recall"] * 20 + (1 - point["specificity"]) * 980
    expect(dropped.page.locator("[data-kind=called]")).to_contain_text(f"{called_films:.1f}")
    assert "on films from another hospital the rates differ" in text.lower()
    dropped.page.fill("#prevalence", "10")


# The film


def test_the_heatmap_is_laid_over_the_film_and_can_be_weakened(dropped):
    page = dropped.page
    page.click(".film >> nth=0")
    dropped.shown()
    page.wait_for_timeout(150)
    page.focus("#worklist")
    plain = pixels(dropped)
    strong = after(dropped, lambda: page.keyboard.press("h"))
    expect(page.locator("#heat")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#legend")).to_be_visible()
    expect(page.locator("#heat-caution")).to_contain_text("lungs alone")
    weak = after(dropped, lambda: page.locator("#strength").fill("20"))
    assert len({plain, strong, weak}) == 3
    page.focus("#worklist")
    page.locator("#strength").fill("85")
    assert after(dropped, lambda: page.keyboard.press("h")) == plain


def test_zoom_pan_invert_and_reset_by_keyboard(dropped):
    page = dropped.page
    page.focus("#worklist")
    page.keyboard.press("r")
    fitted, zoom = pixels(dropped), page.inner_text("#zoom")
    larger = after(dropped, lambda: page.keyboard.press("+"))
    expect(page.locator("#zoom")).not_to_have_text(zoom)
    moved = after(dropped, lambda: page.keyboard.press("Shift+ArrowLeft"))
    inverted = after(dropped, lambda: page.keyboard.press("i"))
    assert len({fitted, larger, moved, inverted}) == 4
    assert after(dropped, lambda: page.keyboard.press("r")) == fitted
    after(dropped, lambda: page.keyboard.press("-"))
    assert after(dropped, lambda: page.keyboard.press("0")) == fitted


def test_mouse_zooms_at_the_pointer_pans_and_windows(dropped):
    page = dropped.page
    box = page.locator("#film").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fitted = pixels(dropped)
    page.mouse.move(x, y)
    after(dropped, lambda: page.mouse.wheel(0, -300))

    def drag(button):
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x + 60, y + 40, steps=3)
        page.mouse.up(button=button)

    after(dropped, lambda: drag("left"))
    expect(page.locator("#readout")).to_have_text("")
    after(dropped, lambda: drag("right"))
    expect(page.locator("#readout")).to_have_text(re.compile(r"W \d+\s+L \d+"))
    page.click("#tool-window")
    after(dropped, lambda: drag("left"))
    page.click("#tool-window")
    assert after(dropped, lambda: page.click("#reset")) == fitted
    after(dropped, lambda: page.locator("#window").fill("80"))
    assert after(dropped, lambda: page.click("#reset")) == fitted


def test_the_keyboard_walks_the_list(dropped):
    page = dropped.page
    page.focus("#worklist")
    page.keyboard.press("Home")
    names = list(dropped.answers())

    def check_selected(place):
        option = page.locator(".film[aria-selected=true]")
        expect(option.locator(".name")).to_have_text(names[place])
        expect(page.locator("#worklist")).to_have_attribute(
            "aria-activedescendant", option.get_attribute("id")
        )

    check_selected(0)
    for key, place in (
        ("j", 1),
        ("ArrowDown", 2),
        ("ArrowRight", 3),
        ("k", 2),
        ("ArrowUp", 1),
        ("ArrowLeft", 0),
        ("k", 0),
    ):
        page.keyboard.press(key)
        check_selected(place)
    page.keyboard.press("End")
    check_selected(-1)
    page.keyboard.press("Home")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    check_selected(0)


def test_letters_typed_into_a_field_are_no_shortcuts(dropped):
    page = dropped.page
    page.focus("#threshold")
    pressed = page.get_attribute("#invert", "aria-pressed")
    page.keyboard.press("i")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", pressed)
    page.keyboard.press("Escape")
    choose(dropped, "own-best_f1")
    choose(dropped, "own-balanced")


def test_a_dicom_film_is_painted_by_the_service(dropped):
    page = dropped.page
    page.click(".film:has-text('chest.dcm')")
    dropped.shown()
    page.wait_for_timeout(200)
    values = page.evaluate(
        """() => { const film = document.getElementById("film");
        const { data } = film.getContext("2d").getImageData(0, 0, film.width, film.height);
        return new Set(data).size; }"""
    )
    assert values > 50


# What is taken away


def saved(visit, button):
    visit.page.click("#export summary")
    with visit.page.expect_download() as waiting:
        visit.page.click(button)
    return waiting.value.path().read_bytes().decode()


def test_csv_and_json_are_the_rows_of_the_command_line(dropped, rows, bundle):
    threshold = bundle.spec.threshold("sensitivity_98")
    choose(dropped, "own-sensitivity_98")
    text = saved(dropped, "#export-csv")
    lines = text.splitlines()[1:]
    wanted = {}
    for name, (row, lungs) in rows.items():
        at_point = dataclasses.replace(row, threshold=threshold)
        wanted[name] = called(bundle, row, lungs, threshold) if row.status == "ok" else at_point
    assert sorted(lines) == sorted(row.to_line("csv").decode().rstrip("\n") for row in wanted.values())
    assert [row["path"] for row in csv.DictReader(io.StringIO(text))] == list(dropped.answers())
    document = json.loads(saved(dropped, "#export-json"))
    assert document["operating_point"]["threshold"] == threshold
    assert "not a medical device" in document["notice"]
    for given in document["rows"]:
        assert {name: given[name] for name in wanted[given["path"]].to_json()} == wanted[
            given["path"]
        ].to_json()
    choose(dropped, "own-balanced")


def test_a_sheet_for_each_film_is_printed(dropped, rows, tmp_path):
    page = dropped.page
    page.evaluate("() => { window.print = () => { window.printed = (window.printed ?? 0) + 1; }; }")
    page.click(".film >> nth=0")
    dropped.shown()
    page.click("#export summary")
    page.click("#print-one")
    page.wait_for_selector(".sheet", state="attached")
    name = next(iter(dropped.answers()))
    page.emulate_media(media="print")
    text = page.inner_text(".sheet")
    for words in (
        name,
        rows[name][0].label,
        f"{rows[name][0].probability:.4f}",
        "balanced",
        rows[name][0].model,
        "not a medical device",
    ):
        assert words in text
    expect(page.locator(".sheet img")).to_have_count(1)
    assert "heatmap" not in text.lower()
    expect(page.locator(".bar")).to_be_hidden()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen")
    expect(page.locator(".sheet")).to_have_count(0)
    page.click("#export summary")
    page.click("#print-all")
    page.wait_for_selector(f".sheet >> nth={READ - 1}", state="attached")
    assert page.evaluate("window.printed") == 2
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(page.locator(".sheet")).to_have_count(0)


# The second tab


def test_the_tab_tells_the_records_and_marks_the_threshold(dropped, bundle):
    page, model = dropped.page, about(bundle)
    page.focus("#tab-films")
    page.keyboard.press("ArrowRight")
    text = page.inner_text("#panel-performance")
    for name in ("accuracy", "sensitivity", "specificity", "roc_auc"):
        assert f"{model['records']['held_out'][name]:.3f}" in text
    for caution in model["records"]["cautions"]:
        assert caution in text
    for row in model["records"]["stress"]["table"] if model["records"]["stress"] else []:
        assert model["stress_views"][row["perturbation"]] in text
    assert "Trained on" in text
    marks = set()
    for point in ("sensitivity_98", "balanced"):
        page.click("#tab-films")
        choose(dropped, f"own-{point}")
        page.click("#tab-performance")
        label = page.get_attribute("#curve svg", "aria-label")
        assert f"threshold {bundle.spec.threshold(point):.4f}" in label
        marks.add(page.get_attribute("#curve circle", "cx"))
    assert len(marks) == 2
    bins = model["records"]["reliability"]["bins"]
    expect(page.locator(".graph").nth(1).locator("circle")).to_have_count(len(bins))
    page.click("#tab-films")


def test_a_model_without_records_is_told_so(visits, bundle, twenty_films):
    bare = {**about(bundle), "records": None, "guard": None, "has_heatmap": False}
    visit = visits.open(routes={"**/v1/model": lambda route: route.fulfill(json=bare)})
    visit.page.click("#tab-performance")
    expect(visit.page.locator("#panel-performance")).to_contain_text("has no records")
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    expect(visit.page.locator("input[name=point]")).to_have_count(len(bundle.spec.thresholds))
    visit.page.fill("#threshold", "0.77")
    visit.page.press("#threshold", "Enter")
    visit.page.wait_for_selector("#meaning:has-text('not at this threshold')")
    expect(visit.page.locator("#heat")).to_be_disabled()


# Ways in, and what may go wrong


def test_pasting_and_choosing_work_as_dropping_does(visits, twenty_films):
    visit = visits.open()
    expect(visit.page.locator(".bar")).to_contain_text("Research use only, not a medical device")
    expect(visit.page.locator("#welcome")).to_contain_text("never leave it")
    visit.drop({"pasted.jpeg": twenty_films["film 01.jpeg"]}, way="paste")
    visit.wait_for(1)
    name = "chosen.png"
    visit.page.set_input_files(
        "#chooser", [{"name": name, "mimeType": "image/png", "buffer": twenty_films["film 04.png"]}]
    )
    visit.wait_for(2)
    assert set(visit.answers()) == {"pasted.jpeg", name}
    visit.check_quiet()


def test_a_name_is_never_markup(visits, twenty_films):
    names = [
        "<img src=x onerror=document.title='hit'>.png",
        "<script>document.title='hit'</script>.jpg",
        "&lt;b&gt;.jpg",
    ]
    visit = visits.open(accept_downloads=True)
    visit.drop(
        dict(zip(names, twenty_films.values(), strict=False)) | {"<svg onload=alert(1)>.txt": b"no film"}
    )
    visit.wait_for(4)
    visit.page.evaluate("() => { window.print = () => {}; }")
    visit.page.click("#export summary")
    visit.page.click("#print-all")
    visit.page.wait_for_selector(".sheet >> nth=2", state="attached")
    for place in range(4):
        visit.page.click(f".film >> nth={place}")
        visit.page.wait_for_timeout(60)
    assert set(visit.answers()) == {*names, "<svg onload=alert(1)>.txt"}
    assert names[0] in saved(visit, "#export-csv")
    expect(visit.page.locator("img:not([src^='blob:']), .film script, main b")).to_have_count(0)
    assert visit.page.title() == "pneumoscan · web viewer"
    visit.check_quiet()


def test_a_busy_service_is_asked_again_after_the_time_it_names(visits, twenty_films):
    refused = []

    def busy(route):
        if len(refused) < 2:
            refused.append(route.request.url)
            route.fulfill(
                status=503,
                headers={"Retry-After": "1"},
                json={"code": "http.busy"},
                content_type="application/problem+json",
            )
        else:
            route.continue_()

    visit = visits.open(routes={"**/v1/classify*": busy})
    visit.drop(dict(list(twenty_films.items())[:3]))
    visit.wait_for(3)
    assert len(refused) == 2
    assert {label for label, _, _ in visit.answers().values()} <= set(GROUPS[:4])
    assert visit.asked() == 5


def test_a_service_that_is_gone_is_told_and_films_wait_for_it(visits, twenty_films):
    visit = visits.open()
    for pattern in ("**/v1/classify*", "**/readyz"):
        visit.page.route(pattern, lambda route: route.abort("connectionrefused"))
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.page.wait_for_selector("#banner:has-text('does not answer')")
    visit.page.unroute_all()
    visit.page.click("#banner-retry")
    visit.wait_for(1)
    expect(visit.page.locator("#banner")).to_be_hidden()
    assert visit.answers()["a.jpeg"][1]


def test_reading_can_be_cancelled_and_taken_up_again(visits, twenty_films):
    visit = visits.open()
    held = []
    visit.page.route("**/v1/classify*", lambda route: held.append(route))  # noqa: PLW0108 - playwright wants a function
    visit.drop(dict(list(twenty_films.items())[:6]))
    visit.page.wait_for_selector(".film >> nth=5")
    visit.page.wait_for_timeout(200)
    assert len(held) <= 4
    visit.page.click("#cancel")
    visit.page.wait_for_selector("#resume", state="visible")
    expect(visit.page.locator("#progress-text")).to_contain_text("6 left out")
    visit.page.unroute_all(behavior="ignoreErrors")
    visit.page.click("#resume")
    visit.page.wait_for_selector("#progress-text:has-text('6 films read')")
    assert all(number for _, number, _ in visit.answers().values())


def test_the_token_is_asked_for_and_kept_in_memory_alone(visits, token_service, twenty_films):
    address, token = token_service
    visit = visits.open(at=address)
    page = visit.page
    page.wait_for_selector("#token[open]")
    page.fill("#token-value", "wrong")
    page.press("#token-value", "Enter")
    page.wait_for_selector("#token-wrong:has-text('does not know')")
    page.fill("#token-value", token)
    page.press("#token-value", "Enter")
    page.wait_for_selector("#banner", state="hidden")
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    assert visit.answers()["a.jpeg"][1]
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert token not in page.content()
    assert all(token not in request.url for request in visit.requests)
    visit.check_quiet()


def test_a_reload_starts_clean_and_says_so_beforehand(visits, twenty_films):
    visit = visits.open()
    said = []
    visit.page.on("dialog", lambda dialog: (said.append(dialog.type), dialog.accept()))
    expect(visit.page.locator("#welcome")).to_contain_text("a reload removes all films")
    visit.page.click(".target")
    visit.page.reload()
    assert said == []
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    visit.page.click("#film")
    visit.page.reload()
    assert said == ["beforeunload"]
    expect(visit.page.locator(".film")).to_have_count(0)
    expect(visit.page.locator("#welcome")).to_be_visible()
    visit.drop({"a.jpeg": twenty_films["film 01.jpeg"]})
    visit.wait_for(1)
    visit.page.click("#clear")
    visit.page.click("#clear-yes")
    visit.page.wait_for_selector("#welcome", state="visible")


# How it looks, and to whom


def test_on_a_phone_the_verdict_is_seen_at_once(visits, twenty_films):
    visit = visits.open(size=(390, 844), is_mobile=True, has_touch=True)
    visit.drop({name: twenty_films[name] for name in list(twenty_films)[:3]})
    visit.wait_for(3)
    visit.shown()
    for part in (".verdict", "#probability", "#film-name"):
        box = visit.page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 500, part
    film = visit.page.locator("#film").bounding_box()
    assert film["y"] <= 844 / 2 + 100
    assert film["height"] >= 400
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_everything_is_in_sight_at_every_size(dropped, size, tmp_path):
    page = dropped.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.click(".film >> nth=0")
    page.wait_for_timeout(150)
    page.screenshot(path=tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == size
    assert page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    ) == list(size)
    for part in ("#film", "#worklist", "#result", "#heat", "#clear", ".notice", "#help-open"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0] + 1, part
        assert box["y"] + min(box["height"], 60) <= size[1] + 1, part
    film, clear, list_ = (page.locator(part).bounding_box() for part in ("#film", "#clear", ".list"))
    assert film["width"] >= 400
    assert film["height"] >= 400
    assert clear["x"] + clear["width"] <= list_["x"] + list_["width"]
    page.set_viewport_size({"width": 1280, "height": 800})


def test_nothing_jumps_while_the_page_comes_up(visits):
    visit = visits.open()
    visit.page.wait_for_selector("#operating-point input", state="attached")
    shift, paint = visit.page.evaluate(
        """() => new Promise((done) => new PerformanceObserver((list) => done([
            list.getEntries().reduce((sum, entry) => sum + entry.value, 0),
            performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
        ])).observe({ type: "layout-shift", buffered: true })
        || setTimeout(() => done([0, performance.getEntriesByName("first-contentful-paint")[0]?.startTime]), 300))"""
    )
    assert shift < 0.02
    # On a machine that does nothing else it is a tenth of that.
    assert paint < 5000


STATES = {
    "empty": "",
    "loaded": "",
    "heatmap": "document.getElementById('heat').click(); document.querySelectorAll('details').forEach((one) => { one.open = true; })",
    "second tab": "document.getElementById('tab-performance').click()",
    "help": "document.getElementById('help').showModal()",
    "token": "document.getElementById('token').showModal()",
    "clear": "document.getElementById('clear-dialog').showModal()",
    "dark": "document.documentElement.dataset.theme = 'dark'; document.getElementById('tab-films').click()",
}


def test_nothing_stands_in_the_way_of_people_who_see_or_point_badly(visits, twenty_films, odd_files):
    axe_module = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed (extra dev)"
    )
    axe, found = axe_module.Axe(), {}
    visit = visits.open(bypass_csp=True)
    visit.page.wait_for_selector("#operating-point input", state="attached")
    for state, act in STATES.items():
        if state == "loaded":
            visit.drop({**dict(list(twenty_films.items())[:8]), "letter.txt": odd_files["letter.txt"]})
            visit.wait_for(9)
            visit.shown()
        if act:
            visit.page.evaluate(
                f"() => {{ for (const one of document.querySelectorAll('dialog')) one.close(); {act} }}"
            )
        visit.page.wait_for_timeout(60)
        result = axe.run(visit.page)
        found[state] = [
            (violation["id"], violation["impact"], violation["nodes"][0]["html"][:200])
            for violation in result.response["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]
    assert found == {state: [] for state in STATES}


@pytest.mark.real_films
def test_real_films_get_python_s_answers(visits, bundle, real_films):
    paths = [
        path
        for label in ("NORMAL", "PNEUMONIA")
        for path in sorted((real_films / "train" / label).iterdir())[:4]
    ]
    visit = visits.open()
    visit.drop({path.name: path.read_bytes() for path in paths})
    visit.wait_for(8)
    answers = visit.answers()
    for path in paths:
        row: PredictionRow = predict_one(bundle, path, bundle.spec.threshold())
        assert answers[path.name][:2] == (row.label, f"{row.probability:.4f}")
    visit.check_quiet()
