"""What every command shares: help, exit codes, and where errors go."""

import subprocess
import sys

import pytest


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pneumoscan", *words], capture_output=True, text=True, check=False
    )


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("data", "demo", "doctor", "evaluate", "export", "model", "predict", "train"):
        assert command in done.stdout


def test_version() -> None:
    import pneumoscan

    assert run("--version").stdout == f"pneumoscan {pneumoscan.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("nonsense",), 2),
        (("train",), 2),
        (("model", "show", "resnet"), 2),
        (("train", "--data", "nowhere", "--out", "absent", "--set", "loop.epoch=3"), 2),
        (("export", "/nonexistent", "--data", "/nonexistent"), 2),
    ],
)
def test_wrong_words_exit_with_two_and_say_so_on_stderr(words: tuple[str, ...], code: int, tmp_path) -> None:
    done = run(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not words or done.stderr


def test_errors_carry_their_code_and_remedy() -> None:
    done = run("model", "show", "resnet")
    assert done.stderr.splitlines() == [
        "error [config]: there is no network named 'resnet'.",
        "  Known: baseline.",
    ]
    assert done.stdout == ""


def test_model_show_prints_the_six_numbers_and_the_total() -> None:
    shown = run("model", "show", "baseline").stdout
    assert [row.rsplit(maxsplit=1)[-1] for row in shown.splitlines() if "+" in row] == [
        "320",
        "9,248",
        "9,248",
        "9,248",
        "692,352",
        "129",
    ]
    assert shown.splitlines()[-1].split() == ["total", "720,545"]
