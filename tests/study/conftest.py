"""Studies so small that a trial takes about a second."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from synthetic_films import write_film_folder

from pneumoscan.study.execute import StudyOrder, run_study
from pneumoscan.study.trial import TrialAnswer
from pneumoscan.study.trials import Planned

HEAD = """
[study]
name = "tiny"
title = "A tiny <study>"
about = "It says nothing of networks."
change = { "data.size" = 32, "data.val_fraction" = 0.3, "loop.epochs" = 2, "loop.batch_size" = 8, "loop.micro_batch" = 4, \
"loop.worker_threads" = 1, "loop.precision" = "float32", "loop.checkpoint_seconds" = 0.001 }

[baseline]
question = "How good?"
why = "Because."
expect = "Something."
seeds = 2
"""

SECTIONS = """
[[section]]
name = "depth"
title = "Depth"
question = "Deeper?"
confirm_best = 2
reads_patience = [1]

[[section.variant]]
name = "fifth-block"
change = { "model.channels" = [32, 32, 32, 32, 32] }
why = "A <b>wider</b> view."
expect = "Better."

[[section.variant]]
name = "as-it-is"
why = "The baseline."
expect = "The same."

[[section]]
name = "rates"
title = "Rates"
question = "How fast?"
confirm_best = 2
confirm_best_by = "optimizer.name"
reads_epochs = [1, 2]
reads_setting = "optimizer.learning_rate"
change = { "schedule.name" = "constant" }

[[section.variant]]
name = "adam"
change = { "optimizer.learning_rate" = 3e-4 }
why = "Slow."
expect = "Slow."

[[section.variant]]
name = "sgd"
change = { "optimizer.name" = "sgd", "optimizer.learning_rate" = 0.03 }
why = "Plain."
expect = "Slower."

[[section.variant]]
name = "sgd-wild"
change = { "optimizer.name" = "sgd", "optimizer.learning_rate" = 1e9 }
why = "Far too fast."
expect = "It diverges."
"""


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.begun_names: list[str] = []
        self.answers: list[TrialAnswer] = []
        self.notes: list[str] = []
        self.shown: list[tuple[int, int]] = []

    def planned(self, trials: Sequence[Planned], ended: Sequence[str]) -> None:
        self.shown.append((len(trials), len(ended)))

    def begun(self, name: str) -> None:
        self.begun_names.append(name)

    def ended(self, answer: TrialAnswer) -> None:
        self.answers.append(answer)

    def note(self, text: str) -> None:
        self.notes.append(text)


RunStudy = Callable[..., Notes]


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """The tiny plan, as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(HEAD + SECTIONS)
    return path


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a plan of the usual head and given sections."""

    def write(sections: str, head: str = HEAD) -> Path:
        path = tmp_path / "plan.toml"
        path.write_text(head + sections)
        return path

    return write


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run_plan(film_folder: Path, tmp_path: Path) -> RunStudy:
    """Return a function that runs a plan on the small folder of films."""

    def run(plan: Path, out: str = "out", **changes: Any) -> Notes:
        notes = Notes()
        run_study(plan, StudyOrder(film_folder, tmp_path / out, **changes), notes)
        return notes

    return run


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Notes]:
    """The tiny study run once: its folder, its films, and what was told. Tests copy it before they change it."""
    root = tmp_path_factory.mktemp("study")
    films = write_film_folder(root / "films")
    (root / "tiny.toml").write_text(HEAD + SECTIONS)
    notes = Notes()
    run_study(root / "tiny.toml", StudyOrder(films, root / "out", cache=root / "cache"), notes)
    return root / "out", films, notes


@pytest.fixture
def study_copy(finished_study: tuple[Path, Path, Notes], tmp_path: Path) -> Path:
    """A copy of the finished study's folder."""
    shutil.copytree(finished_study[0], tmp_path / "copy")
    return tmp_path / "copy"


def record_bytes(out: Path) -> dict[str, bytes]:
    """Return every file of a study's records, but those that say when and where."""
    paths = (path for path in sorted((out / "trials").rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in paths if path.name != "origin.json"}


@pytest.fixture
def records_of() -> Callable[[Path], dict[str, bytes]]:
    """Return the function that reads a study's records as bytes."""
    return record_bytes


@pytest.fixture
def notes() -> Notes:
    """A watcher that remembers."""
    return Notes()
