"""What every command shares: help, exit codes, and where errors go."""

import re
import subprocess
import sys

import pytest
from command_line import run


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("data", "demo", "doctor", "evaluate", "export", "model", "predict", "train"):
        assert command in done.stdout


def test_version() -> None:
    import pneumoscan

    command = [sys.executable, "-m", "pneumoscan"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pneumoscan {pneumoscan.__version__}\n"
    # What a process ends with is what `main` ends with.
    assert subprocess.run([*command, "nonsense"], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("train", "--data", "nowhere", "--out", "absent", "--set", "loop.epoch=3"),
        ("export", "/nonexistent", "--data", "/nonexistent"),
    ],
)
def test_wrong_words_exit_with_two_and_say_so_on_stderr(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not words or done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "No such command 'nonsense'."),
        (("train",), "Missing option '--data'."),
        (("predict",), "Missing argument 'PATHS...'."),
        (("predict", "x", "--workers", "0"), "'--workers': 0 is not in the range x>=1."),
        (("predict", "x", "--threshold", "1.5"), "'--threshold': 1.5 is not in the range 0.0<=x<=1.0."),
        (("predict", "x", "--format", "xml"), "'--format': 'xml' is not one of 'csv', 'jsonl'."),
        (("data", "phantom", "x", "--side", "63"), "'--side': 63 is not in the range 64<=x<=4096."),
    ],
)
def test_the_last_line_says_what_is_wrong_with_the_words(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(message)


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_ctrl_c_ends_without_a_word() -> None:
    done = run_code(
        "import signal, sys\n"
        "from pneumoscan.cli import demo, main\n"
        "demo.doctor.callback = lambda **_: signal.raise_signal(signal.SIGINT)\n"
        "sys.argv = ['pneumoscan', 'doctor']\n"
        "main()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_command_imports_no_other() -> None:
    done = run_code(
        "import sys\n"
        "from pneumoscan.cli import app\n"
        "app(['predict', '--help'], standalone_mode=False)\n"
        "print(sorted(name for name in sys.modules if name.startswith('pneumoscan.cli.')))"
    )
    # The options that commands share are no command.
    assert done.stdout.splitlines()[-1] == "['pneumoscan.cli.options', 'pneumoscan.cli.predict']"


def test_errors_carry_their_code_and_remedy() -> None:
    done = run("model", "show", "resnet")
    what, remedy = done.stderr.splitlines()
    assert done.returncode == 2
    assert what == "error [config]: there is no network named 'resnet'."
    assert {"baseline", "flagship", "transfer"} <= set(re.findall(r"\w+", remedy))
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
