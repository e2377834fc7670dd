"""`pneumoscan doctor` and `demo`: whether this machine can do it all, by a check and by the whole workflow on synthetic films."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pneumoscan.errors import EnvironmentProblemError, UsageError

if TYPE_CHECKING:
    from pneumoscan.classifier import PneumoniaClassifier
    from pneumoscan.doctor import Check
    from pneumoscan.evaluate.metrics import Metrics
    from pneumoscan.train.export import Exported
    from pneumoscan.train.loop import Observer
    from pneumoscan.train.run import Trained

SETTINGS = (
    "data.size=128", "data.val_fraction=0.2", "loop.epochs=22", "loop.batch_size=16", "loop.micro_batch=8", "loop.ema_decay=0.95",
    "schedule.name=one_cycle", "optimizer.learning_rate=2e-3", "augmentation.crop=0.9", "augmentation.rotation=4",
    "augmentation.gamma=0.15", "augmentation.contrast=0", "augmentation.zoom=0", "augmentation.crop_aspect=1.2",
)  # fmt: skip

Say = Callable[[str], None]


@click.command(short_help="Check this machine: packages, folders, memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def doctor(as_json: bool) -> None:
    """Check Python, packages, processors, memory, folders and codecs. The exit code is 6 if something must be fixed."""
    from pneumoscan.doctor import diagnose

    findings = diagnose()
    print(_json(findings) if as_json else _table(findings))
    failed = [finding.name for finding in findings if finding.status == "fail"]
    if failed:
        raise EnvironmentProblemError(
            f"pneumoscan does not work here: {', '.join(failed)}.", "The report says what to do."
        )


def _json(findings: "list[Check]") -> str:
    usable = all(finding.status != "fail" for finding in findings)
    return json.dumps({"usable": usable, "findings": [asdict(finding) for finding in findings]}, indent=2)


def _table(findings: "list[Check]") -> str:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<4}  {finding.name:<{width}}  {finding.value}")
        if finding.remedy:
            lines.append(f"{'':<{width + 6}}  - {finding.remedy}")
    return "\n".join(lines)


@click.command(short_help="Run the whole workflow on synthetic films.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--patients", type=click.IntRange(24), default=400, help="Number of synthetic patients.")
@click.option("--seed", type=int, default=0, help="Seed of the films and of the training.")
def demo(folder: Path, patients: int, seed: int) -> None:
    """Create synthetic films, inspect them, train, export, evaluate, and classify new films, in a few minutes.

    FOLDER is the folder for all files [demo].
    """
    from pneumoscan.cli.options import progress
    from pneumoscan.cli.train import TrainingDisplay

    with TrainingDisplay(None) as watcher:
        made = run_demo(
            folder, patients=patients, seed=seed, observer=watcher, progress=progress,
            say=lambda stage: print(stage, file=sys.stderr, flush=True),
        )  # fmt: skip
    print("\n".join(("", *made.summary, "", f"report: {made.report.resolve()}")))


@dataclass(frozen=True)
class Demo:
    """Result of a demo: the report and a summary of at most ten lines."""

    report: Path
    summary: tuple[str, ...]


def run_demo(
    folder: Path,
    *,
    patients: int,
    seed: int,
    say: Say,
    observer: "Observer",
    progress: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
) -> Demo:
    """Run the whole workflow on synthetic films in `folder`.

    Args:
        folder: Folder for all files. Files of an earlier demo are replaced, except its films.
        patients: Number of synthetic patients.
        seed: Seed of the films and of the training.
        say: Called with the name of each stage.
        observer: Receives the progress of the training.
        progress: Given the name of a longer task, opens a function that is called with (done, total).

    Raises:
        UsageError: `folder` contains other files.
    """
    from pneumoscan.audit import inspect, write_inspection
    from pneumoscan.classifier import PneumoniaClassifier
    from pneumoscan.data.layouts import load_manifest
    from pneumoscan.evaluate import evaluate
    from pneumoscan.phantom import write_new_films, write_phantom_set
    from pneumoscan.train.config import load_config
    from pneumoscan.train.export import export_run
    from pneumoscan.train.run import train

    started = time.monotonic()
    _clear(folder)
    films, run = folder / "films", folder / "run"
    say("1/6 creating synthetic films (no patient, no hospital)")
    with progress("Drawing") as report:
        count = write_phantom_set(films, patients=patients, seed=seed, progress=report)
    say(f"2/6 inspecting {count} films")
    manifest = load_manifest(films)
    with progress("Reading") as report:
        audit = inspect(manifest, progress=report)
    audit_page = write_inspection(folder / "inspect", audit, manifest)
    say("3/6 training the baseline network")
    config = load_config("baseline-quick", None, [*SETTINGS, f"loop.seed={seed}"])
    trained = train(config, films, run, observer=observer)
    say("4/6 exporting, and comparing both runtimes")
    exported = export_run(run, films)
    say("5/6 evaluating on the test films")
    metrics = evaluate(run, films, split="test", out=folder / "evaluation")
    say("6/6 classifying new films")
    new = write_new_films(folder / "new-films", seed=seed + 1)
    model = PneumoniaClassifier.from_pretrained(run)
    facts = (
        "SYNTHETIC films: these figures show that the program works. They say nothing about patients.",
        f"films      {count} synthetic: {len(manifest.of_split('train'))} train, {len(manifest.of_split('test'))} test; "
        f"audit: {audit_page}",
        *_about_training(trained, exported),
        *_about_test(metrics),
        f"new films  {_answers(model, new)}",
        f"time       {time.monotonic() - started:.0f} s in all",
    )
    return Demo(folder / "evaluation" / "report.html", facts)


def _about_training(trained: "Trained", exported: "Exported") -> tuple[str, ...]:
    best = trained.history[trained.kept_epoch - 1]
    return (
        f"training   {len(trained.history)} epochs, {best['films_per_second']:.0f} films/s; kept epoch "
        f"{trained.kept_epoch}",
        f"held out   accuracy {best['val_accuracy']:.3f}, AUC {best['val_auc']:.3f}",
        f"bundle     {exported.bundle} ({exported.spec.parameters:,} parameters; torch and ONNX Runtime agree to "
        f"{exported.largest_difference:.0e})",
    )


def _about_test(metrics: "Metrics") -> tuple[str, ...]:
    return (
        f"test       accuracy {metrics.accuracy:.3f}, AUC {metrics.roc_auc:.3f}, F1 {metrics.f1:.3f} at threshold "
        f"{metrics.threshold:.2f}",
        f"           sensitivity {metrics.sensitivity:.3f}, specificity {metrics.specificity:.3f} on {metrics.n} films",
        f"best F1    {metrics.best_f1.f1:.3f} at threshold {metrics.best_f1.threshold:.2f} of the seventeen",
    )


def _answers(model: "PneumoniaClassifier", films: list[Path]) -> str:
    probabilities = model.predict_proba(films)[:, 1]
    return ", ".join(f"{film.name} {value:.2f}" for film, value in zip(films, probabilities, strict=True))


def _clear(folder: Path) -> None:
    """Remove the files of an earlier demo, and no others."""
    from pneumoscan.data.manifest import SYNTHETIC_NOTICE

    if folder.exists() and any(folder.iterdir()) and not (folder / "films" / SYNTHETIC_NOTICE).exists():
        raise UsageError(f"{folder} contains files that are not of a demo.", "Choose another folder.")
    for part in ("run", "evaluation", "inspect", "new-films"):
        shutil.rmtree(folder / part, ignore_errors=True)
