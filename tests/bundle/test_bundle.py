"""A bundle that was written loads; one that was altered in any way does not."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pneumoscan.bundle import contents as bundle_files
from pneumoscan.bundle import write as bundle_writing
from pneumoscan.bundle.contents import checksum
from pneumoscan.bundle.load import BundleSpec, find_bundle, load_bundle, self_check_inputs
from pneumoscan.bundle.spec import probability_of
from pneumoscan.bundle.write import write_bundle
from pneumoscan.classifier import model_name
from pneumoscan.errors import BundleError, ConfigError, NotWritableError, SelfCheckError, UsageError
from pneumoscan.imaging import Preprocessing


def _rewrite(folder: Path, **changes: Any) -> None:
    """Change model.json as somebody would who knows the checksum."""
    path = folder / "model.json"
    values = json.loads(path.read_text())
    del values["checksum"]
    for key, value in changes.items():
        node = values
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))


def _replace_network(folder: Path, data: bytes) -> None:
    """Put another network in, with its hash."""
    (folder / "model.onnx").write_bytes(data)
    files = json.loads((folder / "model.json").read_text())["files"]
    _rewrite(folder, files={**files, "model.onnx": hashlib.sha256(data).hexdigest()})


def test_round_trip(bundle_folder, make_spec):
    loaded = load_bundle(bundle_folder)
    spec = make_spec()
    assert set(loaded.spec.files) == {"model.onnx", "README.md", "training_films.txt"}
    assert BundleSpec.from_json({**loaded.spec.to_json(), "files": {}}) == spec
    assert loaded.training_films() == {"ab" * 32}
    assert loaded.path == bundle_folder


def test_answers_as_numpy_does(bundle_folder, true_logits):
    batch = np.random.default_rng(0).random((5, 1, 32, 32), dtype=np.float32)
    outputs = load_bundle(bundle_folder).run(batch)
    np.testing.assert_allclose(outputs.logit, true_logits(batch), atol=1e-5)
    np.testing.assert_allclose(outputs.probability, 1 / (1 + np.exp(-outputs.logit / 1.5)), rtol=1e-12)
    assert outputs.probability.dtype == np.float64
    assert outputs.activation_map is not None
    assert outputs.activation_map.shape == (5, 4, 4)


def test_probability_never_overflows():
    assert probability_of([-1e6, 0, 1e6], 0.01).tolist() == [0.0, 0.5, 1.0]


def test_self_check_pictures_never_change():
    """Their bytes are in every bundle's known answers."""
    digest = hashlib.sha256(self_check_inputs(Preprocessing(size=64)).astype("<f4").tobytes()).hexdigest()
    assert digest == "2d3b3928117319923e67ebd1f1f5de7b1fdd8228da752843b8e6d9f79251849f"


@pytest.mark.parametrize("name", ["model.onnx", "README.md", "training_films.txt"])
def test_flipped_byte_is_refused(bundle_folder, name):
    path = bundle_folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=f"{name}.*SHA-256"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize("name", ["model.onnx", "model.json", "README.md", "training_films.txt"])
def test_missing_file_is_refused(bundle_folder, name):
    (bundle_folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle_folder)


def test_json_changed_by_hand_is_refused(bundle_folder):
    path = bundle_folder / "model.json"
    path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.6'))
    with pytest.raises(BundleError, match="changed after it was written"):
        load_bundle(bundle_folder)


def test_json_in_another_layout_is_the_same(bundle_folder):
    path = bundle_folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    load_bundle(bundle_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["PNEUMONIA", "NORMAL"]}, "class_names"),
        ({"schema_version": 3}, "schema_version 3"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"preprocessing__size": 48}, "film"),
        ({"preprocessing__size": 4}, "size"),
        ({"preprocessing__version": 99}, "version"),
        ({"preprocessing__crop": True}, "crop"),
        ({"outputs": ["probability", "logit"]}, "gives"),
        ({"outputs": ["logit"]}, "outputs"),
        ({"outputs": "logit"}, "not a list"),
        ({"thresholds__balanced__threshold": 1.5}, "thresholds.balanced"),
        ({"thresholds__balanced__recall": -1}, "recall"),
        ({"thresholds": []}, "thresholds"),
        ({"default_operating_point": "other"}, "default_operating_point"),
        ({"self_check__tolerance": 10.0}, "tolerance"),
        ({"self_check__recipe": "noise"}, "recipe"),
        ({"self_check__logits": [1.0]}, "self_check"),
        ({"self_check__logits": [0.0, 0.0]}, "known films"),
        ({"surprise": 1}, "unknown surprise"),
        ({"parameters": -1}, "parameters"),
        ({"licence": {"code": 1}}, "licence"),
        ({"name": ""}, "name"),
        ({"files": {"model.onnx": "0", "README.md": "0", "../x": "0"}}, "lists the files"),
    ],
)
def test_illegal_description_is_refused(bundle_folder, changes, message):
    _rewrite(bundle_folder, **changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(bundle_folder)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"model"', "[" * 100_000, "{}", "\xff"])
def test_no_json_is_refused(bundle_folder, text):
    (bundle_folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"model\.json"):
        load_bundle(bundle_folder)


def test_missing_key_is_refused(bundle_folder):
    path = bundle_folder / "model.json"
    values = json.loads(path.read_text())
    del values["checksum"], values["temperature"]
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))
    with pytest.raises(BundleError, match="no temperature"):
        load_bundle(bundle_folder)


def test_self_check_finds_other_weights(bundle_folder, make_onnx):
    _replace_network(bundle_folder, make_onnx(gain=12.1))
    with pytest.raises(SelfCheckError, match="known films"):
        load_bundle(bundle_folder)
    assert load_bundle(bundle_folder, self_check=False)


def test_self_check_finds_another_temperature(bundle_folder):
    _rewrite(bundle_folder, temperature=1.6)
    with pytest.raises(SelfCheckError, match="probability"):
        load_bundle(bundle_folder)


def test_not_a_number_in_the_weights_is_refused(bundle_folder, make_onnx):
    _replace_network(bundle_folder, make_onnx(shift=float("nan")))
    with pytest.raises(SelfCheckError, match="finite"):
        load_bundle(bundle_folder)
    loaded = load_bundle(bundle_folder, self_check=False)
    with pytest.raises(BundleError, match="finite"):
        loaded.run(self_check_inputs(loaded.spec.preprocessing))


@pytest.mark.parametrize("options", [{"size": 40}, {"batch": 1}])
def test_another_input_shape_is_refused(bundle_folder, make_onnx, options):
    _replace_network(bundle_folder, make_onnx(**options))
    with pytest.raises(BundleError, match=r"takes"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize("cut", [0, 10, 500, -1])
def test_damaged_network_is_refused_quietly(bundle_folder, make_onnx, cut, capfd):
    _replace_network(bundle_folder, make_onnx()[:cut])
    with pytest.raises(BundleError, match=r"model\.onnx"):
        load_bundle(bundle_folder)
    assert capfd.readouterr().err == ""


def test_wrong_batch_is_refused_quietly(bundle_folder, capfd):
    loaded = load_bundle(bundle_folder)
    with pytest.raises(BundleError, match="fails on shape"):
        loaded.run(np.zeros((1, 1, 31, 32), np.float32))
    assert capfd.readouterr().err == ""


def test_weights_in_another_file_are_refused(bundle_folder, tmp_path, make_onnx, make_spec):
    model = onnx.load_from_string(make_onnx())
    onnx.external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    for tensor in model.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            tensor.ClearField("raw_data")
    data = model.SerializeToString()
    with pytest.raises(BundleError, match="another file"):
        write_bundle(tmp_path / "new", onnx=data, spec=make_spec(), readme="")
    _replace_network(bundle_folder, data)
    with pytest.raises(BundleError, match="another file"):
        load_bundle(bundle_folder)


def test_swapped_outputs_are_refused(bundle_folder, make_onnx):
    model = onnx.load_from_string(make_onnx())
    model.graph.output[0].name, model.graph.output[1].name = "logit", "probability"
    for node in model.graph.node:
        names = {"logit": "probability", "probability": "logit"}
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    _replace_network(bundle_folder, model.SerializeToString())
    with pytest.raises(SelfCheckError):
        load_bundle(bundle_folder)


def test_network_of_another_form_is_refused(bundle_folder):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [info("x", 1, ["N"])],
        [info("y", 1, ["N"])],
        [],
    )
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    _replace_network(bundle_folder, other.SerializeToString())
    with pytest.raises(BundleError, match="not `film`"):
        load_bundle(bundle_folder)


def test_found_in_a_run_folder(make_bundle, tmp_path):
    folder = make_bundle("run/bundle")
    assert find_bundle(tmp_path / "run") == folder
    assert find_bundle(folder / "model.json") == folder
    assert load_bundle(tmp_path / "run").path == folder


def test_no_bundle_there(tmp_path):
    with pytest.raises(UsageError, match="no model at"):
        find_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"model\.json"):
        find_bundle(tmp_path)


@pytest.mark.parametrize("short", bundle_files.SHIPPED_MODELS)
def test_a_model_of_the_package_is_found_by_each_of_its_names(short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = bundle_files.SHIPPED_MODELS[short]
    spec = bundle_files.read_spec(folder / "model.json")
    printed = model_name(load_bundle(folder, self_check=False))
    for name in (short, spec.name, printed):
        assert find_bundle(Path(name)) == folder
    with pytest.raises(UsageError) as caught:
        find_bundle(Path("flagship-0"))
    assert {short, spec.name} <= set(caught.value.remedy.rstrip(".").replace(",", "").split())


def test_a_folder_of_that_name_comes_before_the_model_of_the_package(make_bundle, tmp_path, monkeypatch):
    make_bundle("baseline")
    monkeypatch.chdir(tmp_path)
    assert find_bundle(Path("baseline")) == Path("baseline")


def test_older_bundle_is_replaced(make_bundle, tmp_path):
    folder = make_bundle(name="first")
    assert make_bundle(name="first", commit="abc") == folder
    assert load_bundle(folder).spec.commit == "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_other_folders_are_never_replaced(tmp_path, make_onnx, make_spec):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.jpeg").write_bytes(b"film")
    with pytest.raises(NotWritableError, match="contains other files than a model bundle"):
        write_bundle(tmp_path / "films", onnx=make_onnx(), spec=make_spec(), readme="")
    assert (tmp_path / "films" / "a.jpeg").read_bytes() == b"film"


def test_failed_write_leaves_the_older_bundle(make_bundle, tmp_path, monkeypatch):
    folder = make_bundle("first")
    monkeypatch.setattr(bundle_writing, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        make_bundle("first", commit="abc")
    assert load_bundle(folder).spec.commit == ""
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_training_films_are_hashes(tmp_path, make_onnx, make_spec):
    with pytest.raises(BundleError, match="SHA-256"):
        write_bundle(tmp_path / "b", onnx=make_onnx(), spec=make_spec(), readme="", training_films=["a.jpeg"])


def test_operating_points(make_spec):
    spec = make_spec()
    assert (spec.threshold(), spec.threshold("sensitive")) == (0.5, 0.3)
    with pytest.raises(ConfigError, match="balanced, sensitive"):
        spec.threshold("other")


def test_reading_imports_no_training_library(bundle_folder, tmp_path, draw_film):
    np.save(tmp_path / "film.npy", draw_film())
    code = (
        "import sys, numpy as np; from pneumoscan import PneumoniaClassifier as C\n"
        f"C.from_pretrained({str(bundle_folder)!r}).predict(np.load({str(tmp_path / 'film.npy')!r}))\n"
        "bad = {'torch', 'matplotlib', 'sklearn', 'pydantic', 'onnx', 'safetensors', 'click'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
