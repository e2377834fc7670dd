"""Several sites side by side: what differs is told, and a label that goes with the site is a finding."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored import assert_as_stored, digest

from pneumoscan.audit import Inspection, inspect, summary_lines, write_inspection
from pneumoscan.audit.counts import NO_SITE, cramers_v
from pneumoscan.data.manifest import FilmRecord, Manifest

Positives = dict[str, int]


def _films(root: Path, positives: Positives, *, marked: bool, n: int = 30) -> Manifest:
    """`n` films of noise of each site, so many of them positive; `marked` draws the films of the first site brighter."""
    films, rng = [], np.random.default_rng(0)
    for site, positive in positives.items():
        bright = 60 if marked and site == next(iter(positives)) else 0
        for number in range(n):
            path = f"{site[:1] or 'none'}{len(site)}{number:03d}.png"
            side = 64 if site else 80
            Image.fromarray(rng.integers(60 + bright, 160 + bright, (side, side), np.uint8)).save(root / path)
            films.append(
                FilmRecord(
                    path, int(number < positive), "train", path, site=site, view="AP", age=40.0 + number
                )
            )
    return Manifest(root, "csv", tuple(films)).in_order()


def _found(audit: Inspection) -> dict[str, str]:
    return {finding.key: finding.severity for finding in audit.findings}


def test_sites_side_by_side(tmp_path):
    audit = inspect(_films(tmp_path, {"a": 15, "": 15}, marked=True))
    assert audit.sites is not None
    unknown, first = audit.sites.sites
    assert (unknown.site, first.site) == (NO_SITE, "a")
    assert (first.n_films, first.n_readable, first.n_patients, first.pneumonia_share) == (30, 30, 30, 0.5)
    assert first.width is not None
    assert unknown.height is not None
    assert first.brightness is not None
    assert unknown.brightness is not None
    assert (first.width.median, unknown.height.max) == (64, 80)
    assert first.brightness.min - unknown.brightness.max > 50
    assert first.views == {"AP": 30}
    assert first.age is not None
    assert (first.age.min, first.age.max) == (40.0, 69.0)
    assert audit.sites.means["a"].mean() > audit.sites.means[NO_SITE].mean() + 50


def test_a_visible_site_that_says_nothing_of_the_label_is_a_note(tmp_path):
    audit = inspect(_films(tmp_path, {"a": 15, "b": 15}, marked=True))
    assert audit.sites is not None
    assert audit.sites.best_seen is not None
    assert audit.sites.best_seen.roc_auc > 0.99
    assert audit.sites.cramers_v == pytest.approx(0.0)
    assert audit.sites.label_probe is not None
    assert audit.sites.label_probe.roc_auc < 0.6
    found = _found(audit)
    assert found["site_visible"] == "note"
    assert not {"shortcut_site", "site_share_differs", "site_of_one_class"} & set(found)


def test_sites_that_look_alike_cannot_be_told(tmp_path):
    audit = inspect(_films(tmp_path, {"a": 15, "b": 15}, marked=False, n=60))
    assert audit.sites is not None
    assert audit.sites.best_seen is not None
    assert audit.sites.best_seen.roc_auc < 0.65
    assert "site_visible" not in _found(audit)


@pytest.mark.parametrize(
    ("positives", "key", "severity"),
    [
        ({"a": 28, "b": 2}, "shortcut_site", "high"),
        ({"a": 21, "b": 9}, "shortcut_site", "medium"),
        ({"a": 17, "b": 13}, "site_share_differs", "medium"),
    ],
)
def test_a_label_that_goes_with_the_site(tmp_path, positives, key, severity):
    audit = inspect(_films(tmp_path, positives, marked=True))
    assert _found(audit)[key] == severity
    text = next(finding.text for finding in audit.findings if finding.key == key)
    assert f"{positives['a'] / 30:.1%} of a" in text
    assert "A network can see it" in text
    assert audit.sites is not None
    assert audit.sites.cramers_v == pytest.approx(abs(positives["a"] - positives["b"]) / 30, abs=0.01)


def test_a_site_of_one_class(tmp_path):
    audit = inspect(_films(tmp_path, {"a": 30, "b": 10, "c": 20}, marked=False))
    assert _found(audit)["site_of_one_class"] == "high"
    text = next(finding.text for finding in audit.findings if finding.key == "site_of_one_class")
    assert "30 films of a, all PNEUMONIA" in text
    assert audit.sites is not None
    assert [probe.title for probe in audit.sites.probes] == ["a", "b", "c"]


def test_one_site_is_not_compared(tmp_path):
    manifest = _films(tmp_path, {"a": 15}, marked=False)
    audit = inspect(manifest)
    assert audit.sites is None
    assert audit.to_json()["sites"] is None
    assert "<h2>Sites</h2>" not in write_inspection(tmp_path / "out", audit, manifest).read_text()


def test_a_site_that_is_in_no_train_split(tmp_path):
    manifest = _films(tmp_path, {"a": 15, "b": 15}, marked=True)
    moved = tuple(replace(film, split="test") if film.site == "b" else film for film in manifest.films)
    audit = inspect(replace(manifest, films=moved))
    assert audit.sites is not None
    assert (audit.sites.split, audit.sites.n_films) == ("all", 60)


def test_a_site_without_a_readable_film_and_one_of_a_single_patient(tmp_path):
    manifest = _films(tmp_path, {"a": 15, "b": 15}, marked=True)
    for film in manifest.films:
        if film.site == "b":
            (tmp_path / film.path).write_bytes(b"no film")
    audit = inspect(manifest)
    assert audit.sites is not None
    assert audit.sites.sites[1].brightness is None
    assert audit.sites.probes == ()
    write_inspection(tmp_path / "out", audit, manifest)


def test_the_page_and_the_terminal_show_the_sites(tmp_path):
    manifest = _films(tmp_path, {"a & b": 28, "a" * 60: 2}, marked=True)
    audit = inspect(manifest)
    page = write_inspection(tmp_path / "out", audit, manifest).read_text()
    assert "<h2>Sites</h2>" in page
    assert "a &amp; b" in page
    assert "a & b" not in page
    told = json.loads((tmp_path / "out/inspect.json").read_text())["sites"]
    assert set(told) == {"sites", "split", "n_films", "probes", "label_probe", "cramers_v", "note"}
    assert told["sites"][1]["views"] == {"AP": 30}
    lines = summary_lines(audit)
    assert all(len(line) <= 100 and not line.endswith("...") for line in lines)
    assert any(line.startswith("a & b") and "93.3%" in line for line in lines)


def test_cramers_v():
    rng = np.random.default_rng(0)
    one = np.array(["x", "y"] * 500)
    assert cramers_v(one, np.array([0, 1] * 500)) == pytest.approx(1.0)
    assert cramers_v(one, rng.integers(0, 2, 1000)) < 0.1
    assert cramers_v(one, np.zeros(1000, int)) == 0.0
    # By hand: 30 and 10 of 40 against 10 and 30 of 40 give chi squared 20, of 80.
    label = np.array([0] * 30 + [1] * 10 + [0] * 10 + [1] * 30)
    assert cramers_v(np.repeat(["x", "y"], 40), label) == pytest.approx(0.5)


def test_the_comparison_of_sites_is_the_stored_one(tmp_path):
    facts = inspect(_films(tmp_path, {"a": 25, "b": 6}, marked=True), areas={"a": (0.8, 30)}).to_json()
    found = {key: digest(facts[key]) for key in ("sites", "comparisons", "findings", "shortcuts", "splits")}
    assert_as_stored("inspection of sites", found)
