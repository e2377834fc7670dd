"""Which model `pneumoscan evaluate` takes where none is named, and the command that its report tells."""

import click
import pytest
from click.testing import CliRunner

from pneumoscan.bundle import contents as pretrained
from pneumoscan.cli import app
from pneumoscan.cli.options import command_line
from pneumoscan.errors import BundleError


class EvaluatedError(Exception):
    """Carries the model that was about to be evaluated."""


@pytest.fixture
def evaluated(monkeypatch, tmp_path):
    """Return the function that runs the command and gives the model that it would evaluate."""

    from pneumoscan import evaluate

    def instead(model, *_arguments, **_options):
        raise EvaluatedError(model)

    monkeypatch.setattr(evaluate, "evaluate", instead)
    monkeypatch.delenv("PNEUMOSCAN_MODEL", raising=False)

    def run(*words):
        done = CliRunner().invoke(
            app, ["evaluate", *words, "--data", "films", "--out", str(tmp_path / "out")]
        )
        if isinstance(done.exception, EvaluatedError):
            return str(done.exception.args[0])
        raise done.exception

    return run


def test_the_model_is_named_by_word_environment_or_package_in_this_order(evaluated, monkeypatch, tmp_path):
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "model.json").write_text("{}")
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    assert evaluated() == str(tmp_path / "shipped")
    monkeypatch.setenv("PNEUMOSCAN_MODEL", "mine")
    assert evaluated() == "mine"
    assert evaluated("run") == "run"


def test_without_any_model_it_says_what_to_name(evaluated, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BundleError, match="contains no model"):
        evaluated()


def test_the_command_is_told_with_what_was_given(monkeypatch) -> None:
    told = []
    command = app.get_command(click.Context(app), "evaluate")
    monkeypatch.setattr(command, "callback", lambda **_: told.append(command_line()))
    words = ["evaluate", "my model", "--data", "a=b c", "--out", "o", "--stress", "--threshold", "0"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert told == [
        "pneumoscan evaluate 'my model' --data 'a=b c' --split test --out o --threshold 0.0 --stress"
    ]
