"""The page's rules against Python's, in the browser that runs them; and what its files may not hold."""

import csv
import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumoscan.bundle.contents import SHIPPED_MODELS
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.spec import unsure_band
from pneumoscan.classifier import abstention_of, certain_distance
from pneumoscan.predict.prevalence import predictive_values
from pneumoscan.rows import PredictionRow, header
from pneumoscan.web.about import about

PAGE = Path(__file__).parents[2] / "src" / "pneumoscan" / "web" / "page"
MODULES = sorted(PAGE.rglob("*.js"))


@pytest.fixture(scope="module")
def blank(chromium, service):
    """A page of the service, to import its modules in."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(service)
    yield page
    context.close()


@pytest.fixture(scope="module")
def shipped():
    """The model in the package that has an out-of-distribution detector."""
    return load_bundle(SHIPPED_MODELS["baseline"])


def run(page: Any, module: str, body: str, value: Any) -> Any:
    """Evaluate `body`, which sees the module as `m` and the value as `v`."""
    return page.evaluate(
        f"async (text) => {{ const m = await import('/page/{module}'); const v = JSON.parse(text); {body} }}",
        json.dumps(value),
    )


def specs_of(bundle):
    """The shipped description, and others that have less, or two points with one threshold."""
    spec = bundle.spec
    bare = {name: {**point, "unsure_band": None} for name, point in spec.thresholds.items()}
    default = spec.thresholds[spec.default_operating_point]
    twin = {
        "twin": {**default, "unsure_band": {"low": 0.1, "high": 0.9, "half_width": 1.0}},
        **spec.thresholds,
    }
    return {
        "shipped": spec,
        "no band": dataclasses.replace(spec, thresholds=bare),
        "no guard": dataclasses.replace(spec, guard=None),
        "band of others": dataclasses.replace(
            spec,
            thresholds={**spec.thresholds, spec.default_operating_point: bare[spec.default_operating_point]},
        ),
        "twins": dataclasses.replace(spec, thresholds=twin),
    }


def cases_of(spec, rng, count=1500):
    """(probability, distance, threshold): spread on the scale of log-odds, and on every edge there is."""
    named = [point["threshold"] for point in spec.thresholds.values()]
    bands = [point["unsure_band"] for point in spec.thresholds.values() if point.get("unsure_band")]
    edges = [*named, 0.0, 1.0, *(band[end] for band in bands for end in ("low", "high"))]
    near = [float(np.nextafter(edge, way)) for edge in edges for way in (0, 1)]
    guards = [
        0.0,
        0.1869,
        5.0,
        None,
        (spec.guard or {}).get("unusual", 1.0),
        certain_distance(spec.guard) if spec.guard else 6.0,
    ]
    cases = []
    for _ in range(count):
        spread = 1 / (1 + math.exp(-rng.normal(0, 4)))
        probability = [spread, float(rng.random()), float(rng.choice(edges)), float(rng.choice(near))][
            rng.integers(4)
        ]
        threshold = [*named, 0.0, 1.0, 0.5, float(rng.random()), float(rng.random())][
            rng.integers(len(named) + 5)
        ]
        distance = [*guards, float(rng.exponential(0.3))][rng.integers(len(guards) + 1)]
        cases.append((probability, distance, threshold))
    return cases


@pytest.mark.parametrize("name", ["shipped", "no band", "no guard", "band of others", "twins"])
def test_labels_and_warnings_are_those_of_python(blank, shipped, name):
    spec = specs_of(shipped)[name]
    model = about(dataclasses.replace(shipped, spec=spec)) if name == "shipped" else about_of(shipped, spec)
    cases = cases_of(spec, np.random.default_rng(5))
    got = run(
        blank, "state/labels.js",
        """return v.cases.map(([probability, distance, threshold]) => {
             const call = m.callOf(v.model, { probability, distance, warnings: ["low_contrast", m.NEAR] }, threshold);
             return [call.label, call.warnings, m.unsureBand(v.model, threshold)]; })""",
        {"model": model, "cases": cases},
    )  # fmt: skip
    seen = set()
    for (probability, distance, threshold), (label, warnings, band) in zip(cases, got, strict=True):
        wanted = abstention_of(spec, probability, distance, threshold)
        expected = unsure_band(spec, threshold)
        assert (band is None) == (expected is None)
        if expected:
            assert band == pytest.approx(expected, rel=1e-12)
            # Two mathematical libraries may differ in the last bit of an edge that is computed.
            if any(0 < abs(probability - edge) < 1e-12 for edge in expected) and band != list(expected):
                continue
        assert label == (wanted.label or spec.class_names[int(probability >= threshold)])
        assert warnings == ["low_contrast", *wanted.warnings]
        seen.add(label)
    assert {"PNEUMONIA", "NORMAL"} <= seen


def test_no_threshold_undoes_what_the_lungs_say(blank, shipped):
    rows = [
        ("NORMAL", [], "PNEUMONIA"),
        ("UNSURE", ["one_lung"], "UNSURE"),
        ("NOT_A_CHEST_FILM", ["no_lungs"], "NOT_A_CHEST_FILM"),
    ]
    got = run(
        blank, "state/labels.js",
        """return v.rows.map(([label, warnings]) =>
             m.callOf(v.model, { label, warnings, probability: 0.99, distance: 0 }, 0.001).label);""",
        {"model": about(shipped), "rows": [row[:2] for row in rows]},
    )  # fmt: skip
    assert got == [wanted for _, _, wanted in rows]


def about_of(bundle, spec):
    """What the service would tell of another description; its records are left out."""
    model = about(bundle)
    points = {
        name: {**model["operating_points"].get(name, {}), "threshold": point["threshold"], "unsure_band": point["unsure_band"]}
        for name, point in spec.thresholds.items()
    }  # fmt: skip
    return {
        **model,
        "operating_points": points,
        "guard": model["guard"] if spec.guard else None,
        "records": None,
    }


def test_predictive_values_are_those_of_python(blank):
    rng = np.random.default_rng(1)
    rates = [
        *rng.random((3000, 3)).tolist(),
        [1.0, 1.0, 0.01],
        [0.0, 1.0, 0.5],
        [1.0, 0.0, 0.5],
        [0.97, 0.9, 1e-6],
    ]
    got = run(blank, "state/labels.js", "return v.map((rates) => m.predictiveValues(...rates));", rates)
    for one, values in zip(rates, got, strict=True):
        wanted = predictive_values(*one)
        assert [values[key] for key in ("ppv", "npv", "called", "found", "missed")] == [
            wanted.ppv, wanted.npv, wanted.called, wanted.found, wanted.missed,
        ]  # fmt: skip


def test_numbers_are_written_as_the_command_line_writes_them(blank):
    rng = np.random.default_rng(2)
    values = [0.0, 1.0, 0.5, 0.1, 5e-324, 1e-7, 1.5e-300, 0.9999999999999999, 123456789.125]
    values += rng.random(2000).tolist() + (10.0 ** rng.uniform(-30, 3, 1000)).tolist()
    got = run(
        blank,
        "state/labels.js",
        "return v.map((value) => [m.decimals(value, 6), m.decimals(value, 2)]);",
        values,
    )
    for value, texts in zip(values, got, strict=True):
        assert texts == [np.format_float_positional(value, unique=True, min_digits=least) for least in (6, 2)]


def test_choices_are_the_furthest_points_that_keep_the_promise(blank, shipped):
    model = about(shipped)
    points = [point for point in model["records"]["operating_curve"]["points"] if 0 < point["threshold"] < 1]
    got = run(blank, "state/operating-curve.js", "return m.choicesOf(v);", model)
    missing = {c["text"]: c["threshold"] for c in got if c["group"] == "miss"}
    alarms = {c["text"]: c["threshold"] for c in got if c["group"] == "alarm"}
    assert {"10", "20", "50", "100"} <= set(missing)
    for films, threshold in missing.items():
        kept = [p["threshold"] for p in points if p["recall"] >= 1 - 1 / int(films) - 1e-12]
        assert threshold == max(kept)
    for films, threshold in alarms.items():
        kept = [p["threshold"] for p in points if p["specificity"] >= 1 - 1 / int(films) - 1e-12]
        assert threshold == min(kept)
    own = {c["id"]: c["threshold"] for c in got if c["group"] == "own"}
    assert own == {f"own-{name}": point["threshold"] for name, point in model["operating_points"].items()}
    alone = run(blank, "state/operating-curve.js", "return m.choicesOf(v);", {**model, "records": None})
    assert {c["group"] for c in alone} == {"own"}


def test_consequences_are_numbers_of_films_with_their_intervals(blank):
    rates = {
        "recall": 0.95, "specificity": 0.9, "recall_ci95": [0.9, 0.98], "specificity_ci95": [0.85, 0.94],
        "unsure_films": 0.05, "unsure_pneumonia": 0.02, "unsure_normal": 0.1,
    }  # fmt: skip
    for prevalence, films in ((0.1, 100), (0.02, 1000), (0.001, 10_000), (0.5, 100)):
        got = run(
            blank, "state/operating-curve.js", "return m.consequences(v[0], v[1]);", [rates, prevalence]
        )
        middle = predictive_values(0.95, 0.9, prevalence)
        assert got["films"] == films
        assert got["called"]["value"] == pytest.approx(middle.called * films)
        assert got["found"]["value"] == pytest.approx(middle.found * films)
        assert got["missed"]["value"] == pytest.approx(middle.missed * films)
        assert got["alarms"]["value"] + got["found"]["value"] == pytest.approx(got["called"]["value"])
        assert got["unsure"] == pytest.approx((0.02 * prevalence + 0.1 * (1 - prevalence)) * films)
        low, high = predictive_values(0.9, 0.85, prevalence), predictive_values(0.98, 0.94, prevalence)
        assert got["ppv"] == pytest.approx({"value": middle.ppv, "low": low.ppv, "high": high.ppv})
        assert got["npv"] == pytest.approx({"value": middle.npv, "low": low.npv, "high": high.npv})
        assert got["missed"]["low"] == pytest.approx(high.missed * films)
        for part in ("called", "found", "alarms", "missed"):
            assert got[part]["low"] < got[part]["value"] < got[part]["high"]


def test_rates_between_two_points_lie_between_them(blank, shipped):
    model = about(shipped)
    points = model["records"]["operating_curve"]["points"]
    for low, high in zip(points[:-1:17], points[1::17], strict=False):
        at = (low["threshold"] + high["threshold"]) / 2
        got = run(blank, "state/operating-curve.js", "return m.ratesAt(v[0], v[1]);", [model, at])
        assert low["recall"] >= got["recall"] >= high["recall"]
        assert low["specificity"] <= got["specificity"] <= high["specificity"]
    named = model["operating_points"]["balanced"]
    got = run(blank, "state/operating-curve.js", "return m.ratesAt(v[0], v[1]);", [model, named["threshold"]])
    assert (got["recall"], got["specificity"]) == (named["recall"], named["specificity"])
    assert (
        run(
            blank,
            "state/operating-curve.js",
            "return m.ratesAt(v[0], v[1]);",
            [{**model, "records": None}, 0.77],
        )
        is None
    )


def test_the_worklist_is_sorted_anew_at_each_operating_point(blank, shipped):
    """A film that is UNSURE for its looks stays so, and stands above the films called NORMAL and below the others."""
    films = [
        ("far", 0.3, (shipped.spec.guard["unusual"] + certain_distance(shipped.spec.guard)) / 2),
        ("high", 0.4, 0.0),
        ("low", 0.2, 0.0),
        ("strange", 0.99, 20.0),
        ("top", 0.95, 0.0),
    ]
    body = """const store = new m.Store(); store.changed = () => {}; store.begin(v.model);
        for (const [name, probability, distance] of v.films) {
          const [film] = store.add([{ file: { name }, path: name }]);
          store.read(film, { row: { probability, distance, warnings: [], sha256: name }, heatmap: null, picture: null });
        }
        return v.thresholds.map((threshold) => { store.choose("", threshold);
          return store.worklist().map(([group, films]) => [group, films.map((film) => film.name)]); });"""
    model = about_of(
        shipped, dataclasses.replace(shipped.spec, thresholds=specs_of(shipped)["no band"].thresholds)
    )
    got = run(
        blank, "state/store.js", body, {"model": model, "films": films, "thresholds": [0.9, 0.35, 0.1, 1.0]}
    )
    apart = ["NOT_A_CHEST_FILM", ["strange"]]
    assert got == [
        [["PNEUMONIA", ["top"]], ["UNSURE", ["far"]], ["NORMAL", ["high", "low"]], apart],
        [["PNEUMONIA", ["top", "high"]], ["UNSURE", ["far"]], ["NORMAL", ["low"]], apart],
        [["PNEUMONIA", ["top", "high", "low"]], ["UNSURE", ["far"]], apart],
        [["UNSURE", ["far"]], ["NORMAL", ["top", "high", "low"]], apart],
    ]


NAMES = [
    "plain.jpeg", "with space.png", "comma, name.jpg", 'quote"d.jpg', "two\nlines.jpg", "return\r.jpg", " leading.jpg",
    "ümläut \u202e.jpg", "semi;colon.jpg", "'apostrophe.jpg", "<img src=x>.png", "",
]  # fmt: skip
FORMULAS = [
    "=1+1.jpg",
    "+cmd.jpg",
    "-2.jpg",
    "@SUM(A1).jpg",
    "\t=tab.jpg",
    " =space.jpg",
    '=HYPERLINK("http://x","y").jpg',
]


def exported(page, names, problem=None):
    films = [
        {
            "path": name, "state": "refused" if problem else "read", "copies": [], "problem": problem,
            "row": {"probability": 0.1 + i / 97, "model": "m@0", "warnings": []},
            "call": {"label": "UNSURE", "warnings": ["low_contrast", "near_threshold"]},
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    body = "return m.csvOf({ ordered: () => v, point: { threshold: 0.2 }, model: { model: 'm@0' } });"
    return run(page, "output/export.js", body, films)


def test_csv_is_that_of_the_command_line(blank):
    rows = [
        PredictionRow(
            name,
            "ok",
            0.1 + i / 97,
            "UNSURE",
            0.2,
            ("low_contrast", "near_threshold"),
            "",
            "",
            "m@0",
        )
        for i, name in enumerate(NAMES)
    ]
    wanted = header("csv") + b"".join(row.to_line("csv") for row in rows)
    assert exported(blank, NAMES) == wanted.decode()
    problem = {"code": "film.empty", "message": "<bytes> is empty.", "remedy": "Copy it, again."}
    refused = PredictionRow(
        "a b.jpg", "refused", None, "", 0.2, (), "film.empty", "a b.jpg is empty. Copy it, again.", "m@0"
    )
    assert exported(blank, ["a b.jpg"], problem) == (header("csv") + refused.to_line("csv")).decode()


def test_names_that_a_spreadsheet_would_calculate_get_an_apostrophe(blank):
    rows = list(csv.DictReader(io.StringIO(exported(blank, FORMULAS), newline="")))
    assert [row["path"] for row in rows] == ["'" + name for name in FORMULAS]
    assert {row["label"] for row in rows} == {"UNSURE"}


def test_the_files_hold_nothing_that_runs_text_or_calls_elsewhere():
    for path in [*MODULES, *PAGE.rglob("*.html"), *PAGE.rglob("*.css")]:
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
        ), path
        outside = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", text)) - {
            "http://www.w3.org",
            "//www.w3.org",
        }
        assert not outside, path
        assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|serviceWorker", text), (
            path
        )
    index = (PAGE / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?![^>]*src=)", index)


def test_every_module_is_told_to_the_browser_beforehand():
    index = (PAGE / "index.html").read_text()
    told = set(re.findall(r'rel="modulepreload" href="page/([\w./-]+)"', index)) | {"main.js"}
    assert told == {path.relative_to(PAGE).as_posix() for path in MODULES}
    for path in MODULES:
        imported = re.findall(r'from "(\.[\w./-]+)"', path.read_text())
        assert {(path.parent / name).resolve() for name in imported} <= set(MODULES), path
    linked = set(re.findall(r'(?:href|src)="page/([\w./-]+)"', index))
    there = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
    assert there == linked | {"index.html"}


def test_the_page_is_small():
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) < 250_000
