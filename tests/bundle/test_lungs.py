"""A bundle that reads the lungs: what it loads, what it answers, what it says of other pictures."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
import tiny_lungs
from PIL import Image

from pneumoscan import PneumoniaClassifier
from pneumoscan.bundle.contents import checksum
from pneumoscan.bundle.heatmap import evidence_of_film, overlay
from pneumoscan.bundle.load import BundleSpec, load_bundle
from pneumoscan.bundle.spec import LUNG_PREPROCESSING
from pneumoscan.bundle.write import write_bundle
from pneumoscan.classifier import find_in, predict_one
from pneumoscan.errors import BundleError, ConfigError, SelfCheckError, UsageError
from pneumoscan.imaging import Preprocessing, read
from pneumoscan.imaging.lungs import find_lungs
from pneumoscan.imaging.preprocessing import lung_crop, preprocess, standardise_lungs
from pneumoscan.predict.pictures import mask_picture, outline_picture


@pytest.fixture
def folder(tmp_path):
    return tiny_lungs.write_lungs_bundle(tmp_path / "lungs")


@pytest.fixture
def bundle(folder):
    return load_bundle(folder)


def _rewrite(folder, **changes):
    """Change model.json as somebody would who knows the checksum."""
    path = folder / "model.json"
    values = json.loads(path.read_text()) | changes
    del values["checksum"]
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))


def test_description_returns_from_its_json(bundle):
    assert set(bundle.spec.files) == {"model.onnx", "README.md", "lungs.onnx"}
    assert (
        BundleSpec.from_json(json.loads(json.dumps({**bundle.spec.to_json(), "files": {}})))
        == tiny_lungs.make_spec()
    )


def test_film_is_read_through_its_lungs(bundle):
    film = read(tiny_lungs.draw_chest())
    lungs = find_lungs(tiny_lungs.lung_logits(preprocess(film, LUNG_PREPROCESSING)[None, None])[0])
    batch, found = bundle.input_of(film)
    assert (found.mask == lungs.mask).all()
    assert (batch == standardise_lungs(lung_crop(film, lungs, tiny_lungs.SIZE))).all()
    finding = find_in(bundle, film, 0.5)
    assert finding.logit == pytest.approx(float(tiny_lungs.true_logits(batch)[0]), abs=1e-5)
    assert finding.activation_map.mean() == pytest.approx(finding.logit, abs=1e-5)
    assert (finding.row.warnings, finding.row.label) == ((), "NORMAL" if finding.logit < 0 else "PNEUMONIA")


def _spot():
    """A picture without anything dark: a bright square on grey."""
    picture = np.full((200, 200), 120, np.uint8)
    picture[80:100, 80:100] = 220
    return picture


@pytest.mark.parametrize(
    ("picture", "label", "warnings"),
    [
        (_spot(), "NOT_A_CHEST_FILM", {"no_lungs"}),
        (tiny_lungs.draw_chest(((0.3, 0.5, 0.15, 0.35),)), "UNSURE", {"one_lung"}),
        (tiny_lungs.draw_chest(((0.3, 0.5, 0.15, 0.35), (0.7, 0.5, 0.07, 0.1))), "UNSURE", {"one_lung"}),
        (tiny_lungs.draw_chest(((0.05, 0.5, 0.2, 0.35), (0.95, 0.5, 0.2, 0.35))), "UNSURE", {"lungs_cut"}),
    ],
)  # fmt: skip
def test_other_outlines_are_named(bundle, picture, label, warnings):
    row = predict_one(bundle, picture, 0.5)
    assert (row.status, row.label) == ("ok", label)
    assert {name for name in row.warnings if "lung" in name} == warnings
    assert (row.probability is None) == (label == "NOT_A_CHEST_FILM")


def test_outline_that_no_chest_has_is_unusual(tmp_path):
    film = tiny_lungs.draw_chest()
    near = {"distance": {"unsure": 0.1, "not_a_chest_film": None}}
    lungs = tiny_lungs.make_lung_spec(limits=near)
    row = predict_one(load_bundle(tiny_lungs.write_lungs_bundle(tmp_path / "a", lungs=lungs)), film, 0.5)
    assert (row.label, row.warnings[-1]) == ("UNSURE", "unusual_lungs")
    lungs = tiny_lungs.make_lung_spec(limits={"distance": {"unsure": 0.1, "not_a_chest_film": 0.2}})
    row = predict_one(load_bundle(tiny_lungs.write_lungs_bundle(tmp_path / "b", lungs=lungs)), film, 0.5)
    assert row.label == "NOT_A_CHEST_FILM"


def test_film_without_lungs_is_read_whole(bundle):
    film = read(_spot())
    batch, lungs = bundle.input_of(film)
    assert lungs.box == (0, 0, 1, 1)
    assert batch.shape == (1, 2, tiny_lungs.SIZE, tiny_lungs.SIZE)
    assert np.isfinite(batch).all()


def test_evidence_lies_in_the_box(bundle):
    film = read(tiny_lungs.draw_chest())
    evidence = evidence_of_film(bundle, film)
    lungs = bundle.lungs_of(film)
    assert evidence.box == lungs.box
    strong = type(evidence)(np.full((4, 4), 9, np.float32), evidence.full_scale, evidence.box)
    coloured = np.asarray(overlay(film, strong, (200, 200))).astype(int)
    seen = np.ptp(coloured, axis=2) > 20
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 200
    assert found == pytest.approx(lungs.box, abs=0.01)


def test_pictures_of_the_lungs(bundle):
    film = read(tiny_lungs.draw_chest())
    lungs = bundle.lungs_of(film)
    mask = np.asarray(mask_picture(film, lungs))
    assert (mask.shape, set(np.unique(mask))) == (film.pixels.shape, {0, 255})
    assert (mask > 0).mean() == pytest.approx(lungs.quality.share, abs=0.01)
    outline = np.asarray(outline_picture(film, lungs)).astype(int)
    assert (np.ptp(outline, axis=2) > 100).any()


def test_classifier_gives_the_lungs(folder, tmp_path):
    lungs = PneumoniaClassifier.from_pretrained(folder).lungs(tiny_lungs.draw_chest())
    assert lungs.quality.parts == 2
    assert len(lungs.outlines()) == 2
    plain = tiny_bundle.write_tiny_bundle(tmp_path / "plain")
    with pytest.raises(UsageError, match="lungs"):
        PneumoniaClassifier.from_pretrained(plain).lungs(tiny_lungs.draw_chest())


def test_model_of_whole_films_may_look_for_lungs_too(tmp_path):
    spec = tiny_bundle.make_spec(lungs=tiny_lungs.make_lung_spec())
    write_bundle(
        tmp_path / "b", onnx=tiny_bundle.make_onnx(), spec=spec, readme="", lungs=tiny_lungs.make_lungs_onnx()
    )
    bundle = load_bundle(tmp_path / "b")
    film = read(tiny_lungs.draw_chest(((0.3, 0.5, 0.15, 0.35),)))
    assert (bundle.input_of(film)[0] == preprocess(film, bundle.spec.preprocessing)).all()
    assert "one_lung" in find_in(bundle, film, 0.5).row.warnings
    assert evidence_of_film(bundle, film).box == (0, 0, 1, 1)


# What does not load


def test_changed_lungs_network_is_refused(folder):
    data = bytearray((folder / "lungs.onnx").read_bytes())
    data[-20] ^= 1
    (folder / "lungs.onnx").write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"lungs\.onnx"):
        load_bundle(folder)


def test_missing_lungs_network_is_refused(folder):
    (folder / "lungs.onnx").unlink()
    with pytest.raises(BundleError, match=r"lungs\.onnx"):
        load_bundle(folder)


def test_self_check_finds_another_lungs_network(folder):
    data = tiny_lungs.make_lungs_onnx(gain=-7.9)
    (folder / "lungs.onnx").write_bytes(data)
    files = json.loads((folder / "model.json").read_text())["files"]
    _rewrite(folder, files=files | {"lungs.onnx": hashlib.sha256(data).hexdigest()})
    with pytest.raises(SelfCheckError, match=r"lungs\.onnx"):
        load_bundle(folder)
    load_bundle(folder, self_check=False)


def test_another_network_in_its_place_is_refused(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "lungs.onnx").write_bytes(data)
    files = json.loads((folder / "model.json").read_text())["files"]
    _rewrite(folder, files=files | {"lungs.onnx": hashlib.sha256(data).hexdigest()})
    with pytest.raises(BundleError, match="takes"):
        load_bundle(folder)


def test_network_and_description_belong_together(folder, tmp_path):
    files = json.loads((folder / "model.json").read_text())["files"]
    _rewrite(folder, files={name: digest for name, digest in files.items() if name != "lungs.onnx"})
    with pytest.raises(BundleError, match=r"lungs\.onnx"):
        load_bundle(folder)
    with pytest.raises(BundleError, match="lungs"):
        write_bundle(tmp_path / "x", onnx=tiny_lungs.make_onnx(), spec=tiny_lungs.make_spec(), readme="")
    with pytest.raises(BundleError, match="lungs"):
        tiny_lungs.make_spec(lungs=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": [0, 0, 0]},
        {"answers": [0, 0, 0, "nan"]},
        {"shape_mean": [0.0]},
        {"shape_inverse": [[0.0]]},
        {"margin": -0.1},
        {"tolerance": 0.1},
        {"source": None},
        {"preprocessing": Preprocessing(size=64).to_json()},
        {"preprocessing": {"size": 128}},
        {"limits": {"colour": {"unsure": 1, "not_a_chest_film": 2}}},
        {"limits": {"cut": {"unsure": 1}}},
        {"limits": {"cut": {"unsure": 0.2, "not_a_chest_film": 0.1}}},
        {"limits": {"share": {"unsure": 0.1, "not_a_chest_film": 0.2}}},
        {"limits": {"share": {"unsure": True, "not_a_chest_film": None}}},
        {"more": 1},
    ],
)
def test_illegal_description_of_the_lungs_is_refused(folder, changes):
    lungs = json.loads((folder / "model.json").read_text())["lungs"]
    _rewrite(folder, lungs=lungs | changes)
    with pytest.raises(BundleError, match="lungs"):
        load_bundle(folder)


def test_input_of_lungs_needs_their_grey_scale():
    with pytest.raises(ConfigError, match="per_film"):
        Preprocessing(size=32, input="lungs")
    with pytest.raises(ConfigError, match="input"):
        Preprocessing(size=32, input="heart")
    with pytest.raises(ConfigError, match="surroundings"):
        Preprocessing(size=32, surroundings=False)


def test_pictures_are_those_of_the_film(tmp_path, folder):
    path = Path(tmp_path / "a.png")
    Image.fromarray(tiny_lungs.draw_chest()).save(path)
    assert (
        PneumoniaClassifier.from_pretrained(folder).lungs(path).box
        == load_bundle(folder).lungs_of(read(path)).box
    )
