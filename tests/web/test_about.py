"""What /v1/model answers: all the page needs, as plain JSON, of a model that tells much and of one that tells little."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_bundle
from synthetic_records import some_records

import pneumoscan
from pneumoscan.bundle.contents import SHIPPED_MODELS, pretrained_bundle
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.write import write_bundle
from pneumoscan.classifier import predict_one
from pneumoscan.errors import BundleError
from pneumoscan.web.about import about, html_of

KEYS = {
    *("name", "model", "version", "class_names", "parameters", "licence", "created", "research_use_only"),
    *(
        "default_operating_point",
        "operating_points",
        "guard",
        "shown_to_work",
        "left_out",
        "has_heatmap",
        "has_lungs",
        "has_pdf",
        "has_regions",
        "regions_measured",
        "heatmap_scale",
        "preprocessing",
    ),
    *("training", "card", "records", "stress_views"),
}
POINT = {
    *(
        "name",
        "threshold",
        "recall",
        "specificity",
        "recall_ci95",
        "specificity_ci95",
        "precision",
        "f1",
        "n",
    ),
    *("n_positive", "source", "unsure_band"),
}


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Return the function that writes the tiny bundle."""

    def bundle(records=None, **changes) -> Path:
        spec = tiny_bundle.make_spec(**changes)
        write_bundle(
            tmp_path / "bundle", onnx=tiny_bundle.make_onnx(), spec=spec, readme="# <tiny>\n", records=records
        )
        return tmp_path / "bundle"

    return bundle


def test_the_shipped_model_tells_everything(draw_film):
    bundle = load_bundle(pretrained_bundle())
    told = about(bundle)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert len(json.dumps(told)) < 150_000
    assert set(told) == KEYS
    assert told["model"] == predict_one(bundle, draw_film(), 0.5).model
    assert told["version"] == pneumoscan.__version__
    assert told["research_use_only"] is True
    assert told["default_operating_point"] in told["operating_points"]
    for name, point in told["operating_points"].items():
        assert set(point) == POINT
        assert None not in point.values()
        assert point["name"] == name
        assert set(point["unsure_band"]) == {"low", "high", "half_width"}
        assert point["threshold"] == bundle.spec.threshold(name)
    assert told["guard"] is None
    assert told["left_out"] == bundle.spec.left_out
    assert told["has_heatmap"] is True
    assert told["heatmap_scale"]["full_scale"] == bundle.spec.training["map_full_scale"]
    assert [anchor[0] for anchor in told["heatmap_scale"]["anchors"]] == [0.0, 0.35, 0.7, 1.0]
    assert set(told["training"]) == {"n_films", "n_patients", "preset", "synthetic"}
    assert told["card"].startswith("<h3>flagship")
    assert told["records"] == bundle.records()
    guarded = about(load_bundle(SHIPPED_MODELS["baseline"]))
    assert set(guarded["guard"]) == {"unusual", "not_a_chest_film"}
    stress = told["records"]["stress"]
    assert not stress or {row["perturbation"] for row in stress["table"]} == set(told["stress_views"])


def test_what_a_model_does_not_tell_is_null(write):
    told = about(load_bundle(write()))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert set(told) == KEYS
    assert told["records"] is told["guard"] is None
    assert told["card"] == "<h3>&lt;tiny&gt;</h3>\n"
    point = told["operating_points"]["balanced"]
    assert set(point) == POINT
    assert (point["threshold"], point["recall"], point["specificity"], point["f1"]) == (0.5, 0.9, None, None)
    assert point["recall_ci95"] is point["unsure_band"] is None
    assert told["training"] == {"n_films": 10, "n_patients": 5, "preset": None, "synthetic": None}
    assert told["heatmap_scale"]["full_scale"] == 12.0


def test_records_are_told_as_they_are_and_only_if_they_are_whole(write):
    records = some_records()
    bundle = load_bundle(write(records))
    assert about(bundle)["records"] == records
    (bundle.path / "records.json").write_text("{}")
    with pytest.raises(BundleError, match=r"records\.json"):
        about(bundle)


CARD = """# Title <b>bold</b>

A *paragraph* with `code`, **weight** and a [link](https://example.org/x?a=1).
![picture](javascript:alert(1))

| a | b |
|---|---|
| `1` | <script>alert(1)</script> |

- one
- two
  goes on

1. first

    indented <i>code</i>

```
fenced
```
"""


def test_the_card_becomes_html_that_runs_and_loads_nothing():
    html = html_of(CARD)
    found = re.findall(r"<([a-z0-9]+)([^>]*)>", html)
    blocks = {"h3", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "pre"}
    assert {tag for tag, _ in found} == blocks | {"em", "strong", "code"}
    named = set(re.findall(r'([\w-]+)="', "".join(attributes for _, attributes in found)))
    assert named == {"class", "role", "tabindex", "aria-label", "scope"}
    assert "&lt;script&gt;" in html
    assert "link (https://example.org/x?a=1)" in html
    assert "indented &lt;i&gt;" in html
    assert html_of("<https://example.org>") == "<p>https://example.org</p>\n"
    assert "<a" not in html_of("[x][1] and `y`\n\n[1]: https://example.org 'title'")
