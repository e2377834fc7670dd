"""Which model `pneumoscan evaluate` judges where none is named."""

import pytest
from click.testing import CliRunner

from pneumoscan.apps.cli import app
from pneumoscan.errors import BundleError
from pneumoscan.inference import pretrained


class JudgedError(Exception):
    """Carries the model that was about to be judged."""


@pytest.fixture
def judged(monkeypatch, tmp_path):
    """Return the function that runs the command and gives the model that it would judge."""
    from pneumoscan import judge

    def instead(model, *_arguments, **_options):
        raise JudgedError(model)

    monkeypatch.setattr(judge, "judge", instead)
    monkeypatch.delenv("PNEUMOSCAN_MODEL", raising=False)

    def run(*words):
        done = CliRunner().invoke(
            app, ["evaluate", *words, "--data", "films", "--out", str(tmp_path / "out")]
        )
        if isinstance(done.exception, JudgedError):
            return str(done.exception.args[0])
        raise done.exception

    return run


def test_the_model_is_named_by_word_environment_or_package_in_this_order(judged, monkeypatch, tmp_path):
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "model.json").write_text("{}")
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    assert judged() == str(tmp_path / "shipped")
    monkeypatch.setenv("PNEUMOSCAN_MODEL", "mine")
    assert judged() == "mine"
    assert judged("run") == "run"


def test_without_any_model_it_says_what_to_name(judged, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BundleError, match="brings no model"):
        judged()
