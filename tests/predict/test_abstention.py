"""Labels that say when not to trust: beyond the guard's cut-offs, and next to the threshold."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.spec import BundleSpec, log_odds, unsure_band
from pneumoscan.classifier import PneumoniaClassifier, abstention_of, distance_with_layout, find_in
from pneumoscan.errors import BundleError
from pneumoscan.imaging import read
from pneumoscan.imaging.grey import flat_share
from pneumoscan.phantom import draw_film
from pneumoscan.predict.batch import predict_many
from pneumoscan.workers.protocol import Want
from pneumoscan.workers.worker import read_film

GUARD = {"unusual": 0.5, "not_a_chest_film": 2.0, "source": "chosen by hand"}
BAND = {"low": 0.4, "high": 0.6, "half_width": log_odds(0.6), "films": 0.05, "errors": 0.5, "source": "hand"}
POINT = {"threshold": 0.5, "source": "fixed", "unsure_band": BAND}


def with_distance(network: bytes, factor: float = 10.0, *, rank: int = 1) -> bytes:
    """Give a graph the output `distance`: its first pixel times `factor`."""
    model = onnx.load_from_string(network)
    graph = model.graph
    for name, value in (("zero", [0]), ("one", [1]), ("all", [-1]), ("minus", [-1])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"d_{name}"))
    graph.initializer.append(numpy_helper.from_array(np.float32(factor), "d_factor"))
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "d_axes"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0], np.int64), "d_start"))
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1], np.int64), "d_end"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1] + [1] * (rank - 1), np.int64), "d_shape"))
    graph.node.extend(
        [
            helper.make_node("Slice", ["film", "d_start", "d_end", "d_axes"], ["d_pixel"]),
            helper.make_node("Reshape", ["d_pixel", "d_shape"], ["d_flat"]),
            helper.make_node("Mul", ["d_flat", "d_factor"], ["distance"]),
        ]
    )
    graph.output.append(
        helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["N", *([1] * (rank - 1))])
    )
    return model.SerializeToString()


@pytest.fixture
def guarded(make_bundle, make_onnx):
    """A bundle whose distance is ten times the grey value, in [0, 1], of the film's first pixel."""
    return make_bundle(
        "guarded",
        onnx=with_distance(make_onnx()),
        outputs=("probability", "logit", "activation_map", "distance"),
        guard=GUARD,
        thresholds={"balanced": POINT, "sensitive": {"threshold": 0.3, "source": "fixed"}},
    )


def film(corner: int, level: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal(level, 12, (32, 32)), 0, 255).astype(np.uint8)
    pixels[0, 0] = corner
    return pixels


@pytest.mark.parametrize(
    ("corner", "label", "far"),
    [
        (0, "NORMAL", False),
        (12, "NORMAL", False),
        (13, "UNSURE", True),
        (50, "UNSURE", True),
        (51, "UNSURE", True),
        (152, "UNSURE", True),
        (154, "NOT_A_CHEST_FILM", True),
        (255, "NOT_A_CHEST_FILM", True),
    ],
)
def test_the_distance_gives_the_label(guarded, corner, label, far):
    (row,) = predict_many(load_bundle(guarded), [film(corner, 30)], workers=1)
    assert (row.status, row.label) == ("ok", label)
    assert ("far_from_training_films" in row.warnings) is far
    assert (row.probability is None) == (label == "NOT_A_CHEST_FILM")
    assert row.probability is None or 0 <= row.probability < 0.4


def test_the_number_of_no_chest_film_is_in_no_answer_but_counts_in_metrics(guarded):
    bundle, pixels = load_bundle(guarded), film(255, 30)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    answer = read_film(bundle, buffer.getvalue(), 0.5, Want(heatmap=True))
    assert (answer.row["label"], answer.row["probability"], answer.row["logit"]) == (
        "NOT_A_CHEST_FILM",
        None,
        None,
    )
    assert answer.heatmap is None
    ours = PneumoniaClassifier(bundle).predict_proba([pixels])[0, 1]
    assert find_in(bundle, read(pixels), 0.5).probability == ours


def test_probabilities_and_classes_do_not_change(guarded, bundle_folder):
    films = [film(corner, level) for corner in (0, 30, 200) for level in (30, 107, 200)]
    with_guard, without = (PneumoniaClassifier.from_pretrained(path) for path in (guarded, bundle_folder))
    np.testing.assert_array_equal(with_guard.predict_proba(films), without.predict_proba(films))
    assert set(with_guard.predict(films)) == {"NORMAL", "PNEUMONIA"}


def test_a_bundle_without_guard_or_band_labels_as_ever(bundle_folder):
    rows = list(
        predict_many(load_bundle(bundle_folder), [film(255, level) for level in (30, 200)], workers=1)
    )
    assert [row.label for row in rows] == ["NORMAL", "PNEUMONIA"]
    assert not {"far_from_training_films", "near_threshold"} & {name for row in rows for name in row.warnings}


def test_the_distance_is_an_output(guarded, bundle_folder):
    batch = np.full((3, 1, 32, 32), 0.25, np.float32)
    distance = load_bundle(guarded).run(batch).distance
    assert distance.dtype == np.float64
    np.testing.assert_allclose(distance, [2.5] * 3)
    assert load_bundle(bundle_folder).run(batch).distance is None


def test_a_distance_of_another_shape_is_refused(make_bundle, make_onnx):
    folder = make_bundle(
        onnx=with_distance(make_onnx(), rank=2),
        outputs=("probability", "logit", "activation_map", "distance"),
    )
    with pytest.raises(BundleError, match="shapes"):
        load_bundle(folder)


def test_the_band_labels_what_is_near(make_spec):
    spec = make_spec(thresholds={"balanced": POINT})
    told = {p: abstention_of(spec, p, None, 0.5) for p in (0.0, 0.39, 0.4, 0.5, 0.6, 0.61, 1.0)}
    assert [p for p, found in told.items() if found.label == "UNSURE"] == [0.4, 0.5, 0.6]
    assert all(found.warnings == (("near_threshold",) if found.label else ()) for found in told.values())


def test_another_threshold_takes_the_band_along(make_spec):
    spec = make_spec(thresholds={"balanced": POINT})
    low, high = unsure_band(spec, 0.9)
    assert log_odds(0.9) - log_odds(low) == pytest.approx(BAND["half_width"])
    assert log_odds(high) - log_odds(0.9) == pytest.approx(BAND["half_width"])
    assert unsure_band(spec, 0.0) is unsure_band(spec, 1.0) is None


def test_an_operating_point_has_its_own_band(make_spec):
    other = {"threshold": 0.2, "source": "x", "unsure_band": {**BAND, "low": 0.15, "high": 0.3}}
    spec = make_spec(thresholds={"balanced": POINT, "other": other})
    assert unsure_band(spec, 0.5) == (0.4, 0.6)
    assert unsure_band(spec, 0.2) == (0.15, 0.3)


def test_a_strange_film_near_the_threshold_is_strange(make_spec):
    spec = make_spec(
        thresholds={"balanced": POINT}, guard=GUARD, outputs=("probability", "logit", "distance")
    )
    assert abstention_of(spec, 0.5, 6.0, 0.5).label == "NOT_A_CHEST_FILM"
    assert abstention_of(spec, 0.5, 6.0, 0.5).warnings == ("far_from_training_films",)
    assert abstention_of(spec, 0.9, None, 0.5).label == ""


def test_what_merely_differs_is_unsure(make_spec):
    spec = make_spec(
        thresholds={"balanced": POINT}, guard=GUARD, outputs=("probability", "logit", "distance")
    )
    assert [abstention_of(spec, 0.9, d, 0.5).label for d in (0.6, 2.0, 5.9)] == ["UNSURE"] * 3
    strict = replace(spec, guard={**GUARD, "not_a_chest_film": 9.0})
    assert abstention_of(strict, 0.9, 7.0, 0.5).label == "UNSURE"


def screen(film: np.ndarray, *, panels: int = 24) -> np.ndarray:
    """Draw a film in the window of a program with flat panels, lines of text beside it and a black ground around it."""
    rng = np.random.default_rng(1)
    pixels = np.full((800, 1280), panels, np.uint8)
    pixels[50:750, 300:940] = 0
    picture = np.asarray(Image.fromarray(film).resize((600, 660)))
    pixels[70:730, 320:920] = picture
    for top in range(60, 740, 40):
        for left in (20, 960):
            pixels[top : top + 8, left : left + 200 : 3] = rng.integers(90, 230, (8, 67))
    return pixels


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("panels", [13, 24, 240])
@pytest.mark.parametrize("change", ["none", "half", "jpeg"])
def test_a_screenshot_of_a_program_is_no_film(panels, change):
    shot = screen(draw_film(3, 0, label=1, size=(500, 440)), panels=panels)
    if change == "half":
        shot = np.asarray(Image.fromarray(shot).resize((640, 400)))
    if change == "jpeg":
        shot = as_jpeg(shot, 80)
    assert flat_share(shot) > 0.18
    assert distance_with_layout(0.01, GUARD, shot) == 6.0
    assert distance_with_layout(40.0, GUARD, shot) == 40.0


def test_films_have_no_flat_areas():
    for number in range(6):
        film = draw_film(number, 0, label=number % 2, size=(500, 440))
        margins = [np.pad(film, ((0, 0), (90, 90)), constant_values=level) for level in (0, 128, 255)]
        black = np.pad(film, 40)
        turned = [np.asarray(Image.fromarray(film).rotate(12))]
        for pixels in (film, as_jpeg(film, 40), black, *margins, *turned):
            assert flat_share(pixels) < 0.1
            assert distance_with_layout(0.3, GUARD, pixels) == 0.3


def test_a_picture_between_film_and_screen_is_unsure():
    film = np.array(draw_film(1, 0, label=0, size=(500, 440)))
    film[100:260, 100:300] = 77
    assert 0.125 < flat_share(film) < 0.18
    assert distance_with_layout(0.01, GUARD, film) == GUARD["unusual"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guard": {**GUARD, "unusual": 3.0}}, "guard"),
        ({"guard": {**GUARD, "unusual": 0}}, "guard"),
        ({"guard": {**GUARD, "not_a_chest_film": float("inf")}}, "guard"),
        ({"guard": {"unusual": 1.0, "not_a_chest_film": 2.0}}, "source"),
        ({"guard": [1, 2]}, "guard"),
        ({"guard": GUARD, "outputs": ("probability", "logit")}, "no output distance"),
        ({"thresholds": {"balanced": {**POINT, "unsure_band": {**BAND, "low": 0.55}}}}, "unsure_band"),
        ({"thresholds": {"balanced": {**POINT, "unsure_band": {**BAND, "half_width": -1}}}}, "unsure_band"),
        ({"thresholds": {"balanced": {**POINT, "unsure_band": {"low": 0.4, "high": 0.6}}}}, "unsure_band"),
        ({"thresholds": {"balanced": {**POINT, "unsure_band": 0.1}}}, "unsure_band"),
        ({"thresholds": {"balanced": {**POINT, "recall_ci95": [0.9, 0.8]}}}, "recall_ci95"),
        ({"thresholds": {"balanced": {**POINT, "specificity_ci95": 0.9}}}, "specificity_ci95"),
        ({"calibration": [1]}, "calibration"),
    ],
)
def test_illegal_limits_are_refused(make_spec, changes, message):
    outputs = {"outputs": ("probability", "logit", "distance")}
    with pytest.raises(BundleError, match=message):
        make_spec(**{**outputs, **changes})


def test_limits_survive_the_file(make_spec):
    point = {**POINT, "recall_ci95": [0.8, 0.95], "specificity_ci95": None}
    spec = make_spec(
        thresholds={"balanced": point},
        guard=GUARD,
        calibration={"before": {"temperature": 1.0}},
        outputs=("probability", "logit", "distance"),
    )
    assert BundleSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_description_of_version_1_is_read(make_spec):
    values = {**make_spec().to_json(), "schema_version": 1}
    assert not {"guard", "calibration", "adaptation"} & set(values)
    assert BundleSpec.from_json(values) == replace(make_spec(), schema_version=1)


@pytest.mark.parametrize("p", [1e-12, 0.01, 0.5, 0.99, 1 - 1e-12])
def test_log_odds(p):
    assert 1 / (1 + np.exp(-log_odds(p))) == pytest.approx(p, rel=1e-9)


def test_log_odds_of_certainty_are_finite():
    assert log_odds(0.0) == -log_odds(1.0) == -40.0
