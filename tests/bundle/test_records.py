"""Records that were written are read back; those that are illegal, or of another model, are refused."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import some_records, stress

from pneumoscan.bundle.contents import checksum
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.write import write_bundle, write_records
from pneumoscan.errors import BundleError


@pytest.fixture
def write(tmp_path, make_onnx, make_spec) -> Callable[[dict[str, Any] | None], Path]:
    """Return the function that writes the tiny bundle with such records."""

    def bundle(records: dict[str, Any] | None) -> Path:
        out = tmp_path / "bundle"
        write_bundle(out, onnx=make_onnx(), spec=make_spec(), readme="# tiny\n", records=records)
        return out

    return bundle


def changed(way: str, value: Any) -> dict[str, Any]:
    """Return the records with one place changed; numbers in the way are places of a list."""
    values = copy.deepcopy(some_records() | {"stress": stress()})
    *parents, last = (int(word) if word.isdigit() else word for word in way.split("."))
    node: Any = values
    for parent in parents:
        node = node[parent]
    node[last] = value
    return values


@pytest.mark.parametrize("table", [None, stress()])
def test_records_come_back_as_they_were_given(write, table):
    values = some_records() | {"stress": table}
    loaded = load_bundle(write(values))
    assert loaded.records() == values
    assert set(loaded.spec.files) == {"model.onnx", "README.md", "records.json"}


def test_a_bundle_without_records_says_so(write):
    assert load_bundle(write(None)).records() is None


def test_records_are_added_and_all_else_stays(bundle_folder):
    before = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}
    loaded = load_bundle(bundle_folder)
    for values in (some_records(), some_records() | {"stress": stress()}):
        write_records(load_bundle(bundle_folder), values)
        assert load_bundle(bundle_folder).records() == values
    after = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}
    assert set(after) == {*before, "records.json"}
    assert all(after[name] == before[name] for name in set(before) - {"model.json"})
    old, new = (json.loads(texts["model.json"]) for texts in (before, after))
    assert {key for key in new if new[key] != old[key]} == {"files", "checksum"}
    assert [path.name for path in bundle_folder.parent.iterdir()] == [bundle_folder.name]
    (bundle_folder / "README.md").write_text("another card")
    with pytest.raises(BundleError, match=r"README\.md"):
        write_records(loaded, some_records())


def test_the_card_is_the_one_that_was_written(write):
    loaded = load_bundle(write(None))
    assert loaded.card() == "# tiny\n"
    (loaded.path / "README.md").write_text("another")
    with pytest.raises(BundleError, match="SHA-256"):
        loaded.card()


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        ("cautions", "all is well", "cautions"),
        ("cautions.0", 1, "cautions"),
        ("surprise", 1, "not a table of operating_curve"),
        ("held_out.accuracy", float("nan"), "held_out: accuracy"),
        ("held_out.accuracy", True, "held_out: accuracy"),
        ("held_out.accuracy", 1.01, "held_out: accuracy"),
        ("held_out.accuracy", "0.9", "held_out: accuracy"),
        ("held_out.accuracy", None, "held_out: accuracy"),
        ("held_out.accuracy_ci95", [0.9, 0.8], "accuracy_ci95"),
        ("held_out.accuracy_ci95", [0.9], "accuracy_ci95"),
        ("held_out.n", 10**400, "held_out: n"),
        ("held_out.n", -1, "held_out: n"),
        ("held_out.n", 10.0, "held_out: n"),
        ("held_out.n", 11, "confusion contradicts"),
        ("held_out.n_positive", 5, "confusion contradicts"),
        ("held_out.threshold", 0.3, "the model's threshold is 0.5"),
        ("held_out", [], "held_out is not a table"),
        ("operating_curve.points", [], "both classes"),
        ("operating_curve.points", {}, "not a list"),
        ("operating_curve.n_positive", 50, "both classes"),
        ("operating_curve.points.1.threshold", 0.5, "threshold is not in order"),
        ("operating_curve.points.1.threshold", float("inf"), r"points\[1\]: threshold"),
        ("operating_curve.points.1.threshold", 0.31, "contradicts sensitive"),
        ("operating_curve.points.1.recall", 0.89, "recall is not in order"),
        ("operating_curve.points.1.specificity", 0.9, "specificity is not in order"),
        ("operating_curve.points.2.recall", 0.82, "contradicts balanced"),
        ("operating_curve.points.2.unsure_films", -0.1, "unsure_films"),
        ("precision_recall.threshold", [0.1], "precision_recall contradicts"),
        ("precision_recall.threshold", [0.7, 0.1], "precision_recall contradicts"),
        ("reliability.bins.0.n", 4, "reliability contradicts"),
        ("reliability.bins.0.high", 0.6, "reliability contradicts"),
        ("reliability.bins.0.ci95", None, "ci95"),
        ("stress.threshold", 0.3, "the model's threshold is 0.5"),
        ("stress.table.0.n", None, "stress: table"),
        ("stress.worst.roc_auc", {"value": 0.9}, "worst: roc_auc"),
    ],
)
def test_illegal_records_are_neither_written_nor_read(write, bundle_folder, way, value, message):
    values = changed(way, value)
    with pytest.raises(BundleError, match=message) as caught:
        write_records(load_bundle(bundle_folder), values)
    assert caught.value.remedy
    folder = write(some_records())
    forge(folder, json.dumps(values).encode())
    with pytest.raises(BundleError, match=message):
        load_bundle(folder).records()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"n": 1' + b"0" * 5000]
)
def test_no_json_is_refused(write, data):
    folder = write(some_records())
    forge(folder, data)
    loaded = load_bundle(folder)
    with pytest.raises(BundleError, match=r"records\.json"):
        loaded.records()


def test_huge_altered_and_missing_records_are_refused(write):
    folder = write(some_records())
    path = folder / "records.json"
    loaded = load_bundle(folder)
    path.write_bytes(path.read_bytes() + b" ")
    for ask in (lambda: load_bundle(folder), loaded.records):
        with pytest.raises(BundleError, match=r"records\.json.*SHA-256"):
            ask()
    forge(folder, b" " * ((1 << 20) + 1))
    with pytest.raises(BundleError, match="more than 1 MiB"):
        load_bundle(folder)
    path.unlink()
    with pytest.raises(BundleError, match=r"records\.json cannot be read"):
        load_bundle(folder)


def forge(folder: Path, data: bytes) -> None:
    """Put other records in, as somebody would who knows hashes and checksum."""
    (folder / "records.json").write_bytes(data)
    values = json.loads((folder / "model.json").read_text())
    del values["checksum"]
    values["files"]["records.json"] = hashlib.sha256(data).hexdigest()
    (folder / "model.json").write_text(json.dumps({**values, "checksum": checksum(values)}))
