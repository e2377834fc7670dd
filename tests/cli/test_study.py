"""`pneumoscan study` on the command line."""

from functools import partial
from pathlib import Path

import command_line
import pytest

ARTICLE = Path(__file__).parents[2] / "studies" / "article.toml"


run = partial(command_line.run, "study")


def test_run_is_what_is_meant_where_no_command_is_named() -> None:
    done = run(str(ARTICLE), "--dry-run", "--only", "dropout", "--only", "input-size")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].split()[:4] == ["1", "baseline,", "seed", "0"]
    assert "also dropout, input-size" in lines[0]
    assert lines[-2].startswith("15 trials, 15 left; 4,433 films to train on, 783 held out")
    assert "cost model" in lines[-1]
    assert (
        run("run", str(ARTICLE), "--dry-run", "--only", "dropout", "--only", "input-size").stdout
        == done.stdout
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((str(ARTICLE),), "a study needs --data and --out"),
        (("nowhere.toml", "--dry-run"), "cannot read nowhere.toml"),
        ((str(ARTICLE), "--dry-run", "--only", "dropuot"), "there is no section 'dropuot'"),
        ((str(ARTICLE), "--jobs", "0", "--dry-run"), "'--jobs': 0 is not in the range"),
        (("report", "nowhere"), "nowhere contains no study"),
        ((), "Usage"),
    ],
)
def test_wrong_words_are_told(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
