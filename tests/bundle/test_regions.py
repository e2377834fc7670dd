"""Regions of evidence: inside the lungs, by share, on the right side, and with what was measured about them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_lungs

from pneumoscan import PneumoniaClassifier
from pneumoscan.bundle.heatmap import Evidence
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.regions import LEAST_SHARE, measured_in_words, regions_in, regions_of
from pneumoscan.bundle.write import write_regions
from pneumoscan.errors import BundleError, UsageError
from pneumoscan.imaging import read
from pneumoscan.imaging.lungs import SIDE, WHOLE_FILM, Lungs, Quality

MEASURED = {
    "films": "drawn films", "n": 10, "hottest_in_a_box": 0.75, "random_in_a_box": 0.25, "shown": 8, "evidence_in_boxes": 0.5,
    "regions": 12, "regions_in_a_box": 0.5, "boxes": 9, "boxes_with_a_region": 0.6, "overlap": 0.4,
}  # fmt: skip
RECORD = {"level": 0.5, "source": "drawn", "measured": [MEASURED]}


def _lungs():
    """Two rectangles: the right lung on the left of the film, the left lung half as large."""
    parts = np.zeros((SIDE, SIDE), np.uint8)
    parts[32:96, 16:48] = 1
    parts[32:96, 80:96] = 2
    return Lungs(parts, parts, WHOLE_FILM, Quality())


def _evidence(*spots, box=WHOLE_FILM):
    """A map of -1 with spots: rows and columns of 1/16 of the box, and a value."""
    values = np.full((16, 16), -1, np.float32)
    for rows, columns, value in spots:
        values[rows, columns] = value
    return Evidence(values, box=box)


def test_regions_lie_in_the_lungs_and_the_largest_share_comes_first():
    evidence = _evidence((slice(4, 6), slice(10, 12), 4.0), (slice(8, 12), slice(2, 6), 8.0))
    found = regions_in(evidence, _lungs(), 1.0)
    assert [one.side for one in found.regions] == ["right", "left"]
    assert found.regions[0].share > 3 * found.regions[1].share > 0.1
    assert sum(one.share for one in found.regions) <= 1
    left, top, right, bottom = found.regions[0].box
    assert (left, right) == pytest.approx((16 / 128, 48 / 128), abs=0.01)
    assert (top, bottom) == pytest.approx((8 / 16, 12 / 16), abs=0.02)
    for one, (low, high) in zip(found.regions, ((16, 48), (80, 96)), strict=True):
        assert (one.outline[:, 0] * SIDE).min() >= low
        assert (one.outline[:, 0] * SIDE).max() <= high
        assert one.outline.min(0) == pytest.approx(one.box[:2])
        assert one.outline.max(0) == pytest.approx(one.box[2:])
        assert one.box[0] <= one.peak[0] <= one.box[2]
        assert one.box[1] <= one.peak[1] <= one.box[3]


def test_share_of_the_lung_field_is_what_the_regions_cover():
    # The lower half of the right lung: rows 64 to 96 of 32 to 96.
    found = regions_in(_evidence((slice(8, 16), slice(0, 8), 5.0)), _lungs(), 2.0)
    assert found.right == pytest.approx(0.5, abs=0.03)
    assert found.right == pytest.approx(sum(one.area for one in found.regions))
    assert found.left == 0.0
    everything = regions_in(_evidence((slice(0, 16), slice(0, 16), 5.0)), _lungs(), 2.0)
    assert (everything.right, everything.left) == (1.0, 1.0)
    one_lung = replace(_lungs(), parts=np.where(_lungs().parts == 1, 1, 0).astype(np.uint8))
    assert regions_in(_evidence(), one_lung, 2.0).left is None


def test_evidence_beside_the_lungs_counts_in_the_whole_but_has_no_region():
    beside = _evidence((slice(4, 12), slice(13, 15), 5.0), (slice(8, 10), slice(3, 5), 5.0))
    found = regions_in(beside, _lungs(), 1.0)
    assert [one.side for one in found.regions] == ["right"]
    assert found.regions[0].share < 0.5


def test_specks_and_maps_without_evidence_have_no_regions():
    speck = _evidence((slice(8, 12), slice(2, 6), 8.0), (slice(5, 6), slice(11, 12), 1.5))
    assert [one.side for one in regions_in(speck, _lungs(), 1.0).regions] == ["right"]
    assert regions_in(speck, _lungs(), 1.0).left == 0.0
    assert LEAST_SHARE > 0.01
    for values in (_evidence(), Evidence(np.zeros((16, 16), np.float32))):
        found = regions_in(values, _lungs(), 1.0)
        assert (found.regions, found.right, found.left) == ((), 0.0, 0.0)


def test_map_of_the_box_is_put_back_to_its_place():
    box = (0.1, 0.2, 0.8, 0.8)
    found = regions_in(_evidence((slice(8, 16), slice(0, 16), 5.0), box=box), _lungs(), 2.0)
    assert found.regions[0].box[1] == pytest.approx(0.5, abs=0.03)


def test_a_ring_is_filled_and_its_outline_is_closed_and_single():
    ring = _evidence((slice(4, 12), slice(2, 6), 8.0), (slice(7, 9), slice(3, 5), -1.0))
    found = regions_in(ring, _lungs(), 1.0)
    assert len(found.regions) == 1
    assert found.regions[0].area == pytest.approx(1.0, abs=0.02)


def test_json_has_shares_and_pixels_of_the_film():
    found = regions_in(_evidence((slice(8, 12), slice(2, 6), 8.0)), _lungs(), 1.0)
    told = json.loads(json.dumps(found.to_json((1000, 500))))
    assert set(told) == {"regions", "right_lung_with_evidence", "left_lung_with_evidence"}
    (one,) = told["regions"]
    assert np.array(one["outline_pixels"]) == pytest.approx(np.array(one["outline"]) * (1000, 500), abs=0.2)
    assert one["box_pixels"][2] == pytest.approx(one["box"][2] * 1000, abs=0.2)
    assert one["box_pixels"][3] == pytest.approx(one["box"][3] * 500, abs=0.2)


@pytest.fixture
def bundle(tmp_path):
    return load_bundle(tiny_lungs.write_lungs_bundle(tmp_path / "lungs", regions=RECORD))


def test_normal_films_have_regions_only_if_asked(bundle):
    film = read(tiny_lungs.draw_chest())
    lungs = bundle.lungs_of(film)
    strong = np.full((4, 4), 9, np.float32)
    assert regions_of(bundle, "PNEUMONIA", strong, lungs).regions
    assert regions_of(bundle, "UNSURE", strong, lungs).regions
    none = regions_of(bundle, "NORMAL", strong, lungs)
    assert (none.regions, none.right, none.left) == ((), None, None)
    assert regions_of(bundle, "NORMAL", strong, lungs, always=True).regions
    assert not regions_of(bundle, "NOT_A_CHEST_FILM", strong, lungs, always=True).regions
    assert regions_of(bundle, "PNEUMONIA", strong, None) is None


def test_classifier_gives_the_regions_of_its_row(bundle):
    model = PneumoniaClassifier(bundle)
    film = tiny_lungs.draw_chest()
    found = model.regions(film, always=True)
    evidence = model.activation_maps(film)[0] / bundle.spec.temperature
    assert (len(found.regions) > 0) == (evidence.max() >= 0.5)
    assert found.right is not None
    model.threshold = 1.0
    assert model.regions(film).right is None
    model.threshold = 0.0
    assert model.regions(film).right == found.right


def test_model_without_lungs_has_no_regions(tmp_path):
    import tiny_bundle

    model = PneumoniaClassifier(load_bundle(tiny_bundle.write_tiny_bundle(tmp_path / "plain")))
    with pytest.raises(UsageError, match="tiny"):
        model.regions(tiny_lungs.draw_chest())


def test_record_is_told_and_a_model_without_one_says_so(bundle, tmp_path):
    (line,) = measured_in_words(bundle.spec)
    assert all(text in line for text in ("10 drawn films", "75%", "25%", "40%"))
    plain = load_bundle(tiny_lungs.write_lungs_bundle(tmp_path / "plain"))
    assert "not been measured" in measured_in_words(plain.spec)[0]


def test_record_is_replaced_and_the_rest_of_the_bundle_stays(tmp_path):
    folder = tiny_lungs.write_lungs_bundle(tmp_path / "lungs")
    before = load_bundle(folder).spec
    write_regions(load_bundle(folder), RECORD)
    after = load_bundle(folder).spec
    assert after.regions["level"] == 0.5
    assert replace(after, regions=None) == before


@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "level": 0},
        {**RECORD, "level": "high"},
        {"level": 1.0, "source": "drawn"},
        {**RECORD, "measured": [{**MEASURED, "overlap": 1.5}]},
        {**RECORD, "measured": [{**MEASURED, "n": "many"}]},
        {**RECORD, "measured": [{"films": "drawn films"}]},
        {**RECORD, "measured": "well"},
        {**RECORD, "more": 1},
    ],
)
def test_other_records_are_refused(record):
    with pytest.raises(BundleError, match=r"regions|well"):
        tiny_lungs.make_spec(regions=record)


def test_record_of_the_model_in_the_package():
    spec = load_bundle("lungs").spec
    assert spec.regions["level"] > 0
    for one in spec.regions["measured"]:
        assert one["hottest_in_a_box"] > one["random_in_a_box"] > 0
        assert one["n"] >= one["shown"] > 0
