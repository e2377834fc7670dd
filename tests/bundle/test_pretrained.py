"""The model that comes with the package."""

import pytest

from pneumoscan.bundle import contents as pretrained
from pneumoscan.classifier import PneumoniaClassifier
from pneumoscan.errors import BundleError


def test_the_classifier_takes_it_where_no_model_is_named(bundle_folder, monkeypatch, draw_film):
    monkeypatch.setattr(pretrained, "SHIPPED", bundle_folder)
    assert pretrained.pretrained_bundle() == bundle_folder
    ours, named = PneumoniaClassifier.from_pretrained(), PneumoniaClassifier.from_pretrained(bundle_folder)
    assert ours.predict_proba(draw_film()).tolist() == named.predict_proba(draw_film()).tolist()


def test_an_installation_without_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BundleError, match="contains no model") as caught:
        PneumoniaClassifier.from_pretrained()
    assert "--model" in caught.value.remedy


def test_its_folder_is_inside_the_package():
    assert pretrained.SHIPPED.parts[-4:-1] == ("pneumoscan", "bundle", "shipped")
