"""Features and maps of many films in one file each."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image

from pneumoscan.bundle.load import load_bundle
from pneumoscan.cli import app
from pneumoscan.errors import UsageError
from pneumoscan.imaging import read
from pneumoscan.predict.raw_outputs import array_files, is_of_arrays


@pytest.fixture
def films(tmp_path):
    """Two films of different shape and a file that is none."""
    folder, rng = tmp_path / "films", np.random.default_rng(0)
    folder.mkdir()
    for name, shape in (("a.png", (220, 200)), ("b.png", (200, 260))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(folder / name)
    (folder / "c.png").write_text("no film")
    return folder


@pytest.fixture
def with_features(make_bundle, make_onnx):
    """A bundle whose features are the sixteen values of the map."""
    model = onnx.load_from_string(make_onnx())
    model.graph.node.append(helper.make_node("Flatten", ["activation_map"], ["features"]))
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 16]))
    outputs = ("probability", "logit", "activation_map", "features")
    return make_bundle("features", onnx=model.SerializeToString(), outputs=outputs)


def test_both_files_have_one_row_for_each_film_in_order(with_features, films, tmp_path):
    words = ["predict", str(films), "--model", str(with_features), "--out", str(tmp_path / "rows.csv")]
    words += ["--features", str(films / "f.npz"), "--maps", str(tmp_path / "sub/m.npz")]
    # The second run finds the file of features among the films and leaves it out.
    for _ in range(2):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 3, done.output
    bundle = load_bundle(with_features)
    with np.load(films / "f.npz") as features, np.load(tmp_path / "sub/m.npz") as maps:
        paths = [str(films / name) for name in ("a.png", "b.png")]
        assert features["paths"].tolist() == maps["paths"].tolist() == paths
        assert features["features"].shape == (2, 16)
        assert features["features"].dtype == np.float32
        for row, path in enumerate(paths):
            outputs = bundle.run(bundle.input_of(read(path))[0], features=True)
            np.testing.assert_array_equal(features["features"][row], outputs.features[0])
            np.testing.assert_array_equal(maps["maps"][row], outputs.activation_map[0])
            assert features["probabilities"][row] == outputs.probability[0]
        assert maps["boxes"].tolist() == [[0, 0, 1, 1]] * 2
        assert maps["sizes"].tolist() == [[200, 220], [260, 200]]
        assert str(features["model"]).startswith("tiny@")


def test_a_model_without_the_output_is_an_error(bundle_folder, tmp_path):
    with pytest.raises(UsageError, match=r"tiny has no output features"):
        array_files(load_bundle(bundle_folder), tmp_path / "f.npz", None)


def test_files_of_other_kinds_are_never_overwritten(with_features, tmp_path):
    bundle = load_bundle(with_features)
    np.savez(tmp_path / "mine.npz", x=np.zeros(3))
    for name, match in (("mine.npz", "not a file of features"), ("f.npy", "does not end in")):
        with pytest.raises(UsageError, match=match):
            array_files(bundle, tmp_path / name, None)
    with pytest.raises(UsageError, match="for features and maps"):
        array_files(bundle, tmp_path / "f.npz", tmp_path / "f.npz")
    assert not is_of_arrays(tmp_path / "mine.npz")


def test_a_run_that_is_continued_has_no_arrays(with_features, films, tmp_path):
    words = ["predict", str(films), "--model", str(with_features), "--out", str(tmp_path / "rows.csv")]
    done = CliRunner().invoke(app, [*words, "--resume", "--maps", str(tmp_path / "m.npz")])
    assert isinstance(done.exception, UsageError)
