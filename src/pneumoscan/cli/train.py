"""`pneumoscan train`, `export`, `card` and `model`: from films to a bundle with its card, and the networks to choose from."""

import os
import shlex
import sys
import time
from contextlib import ExitStack
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumoscan.cli.options import data_option, figures_option, say, workers_option
from pneumoscan.errors import Terminated

if TYPE_CHECKING:
    from pneumoscan.card import Records
    from pneumoscan.train.checkpoint import EpochRecord


@click.command(short_help="Train a network, or resume a run.")
@data_option("Folder or table of films; its split train is used.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Run folder: a new one, or with --resume the one to continue.",
)
@click.option("--preset", default="baseline", help="baseline, baseline-plain, …")
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file whose settings override the preset."
)
@click.option(
    "--set", "assignments", multiple=True, help="One setting, such as loop.epochs=24; may be repeated."
)
@click.option("--resume", is_flag=True, help="Continue the run in OUT.")
@click.option("--bundle/--no-bundle", default=True, help="Export the finished run to OUT/bundle.")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events.")
@figures_option
def train(
    data: tuple[str, ...],
    out: Path,
    preset: str,
    config: Path | None,
    assignments: tuple[str, ...],
    resume: bool,
    bundle: bool,
    tensorboard: bool,
    figures: tuple[str, ...],
) -> None:
    """Train a network. --resume continues an interrupted run, which then ends with the same weights."""
    from pneumoscan.cli.options import progress
    from pneumoscan.evaluate.drawing import for_papers
    from pneumoscan.train.config import load_config
    from pneumoscan.train.export import export_run, report_val, write_lungs
    from pneumoscan.train.run import train

    given = preset != "baseline" or config is not None or bool(assignments)
    wanted = None if resume and not given else load_config(preset, config, list(assignments))
    with ExitStack() as stack:
        decoding = stack.enter_context(progress("Decoding films"))
        watcher = stack.enter_context(TrainingDisplay(out if tensorboard else None))
        stack.enter_context(for_papers(figures))
        try:
            trained = train(wanted, data, out, resume=resume, observer=watcher, decoding=decoding)
        except (KeyboardInterrupt, Terminated):
            films = [word for source in data for word in ("--data", source)]
            words = shlex.join(["pneumoscan", "train", "--resume", *films, "--out", str(out)])
            watcher.note(f"interrupted; continue with: {words}")
            raise
    if not trained.writes:
        return
    best = trained.history[trained.kept_epoch - 1]
    lungs = "val_dice_field" in best
    measured = (
        f"Dice {best['val_dice_field']:.4f} (field), {best['val_dice_aerated']:.4f} (aerated)"
        if lungs
        else f"accuracy {best['val_accuracy']:.4f}, AUC {best['val_auc']:.4f}"
    )
    print(
        f"trained {len(trained.history)} epochs{' (stopped early)' if trained.stopped_early else ''}; kept epoch "
        f"{trained.kept_epoch}: held-out {measured}, loss {best['val_loss']:.4f}"
    )
    print(f"run: {out}")
    if lungs:
        write_lungs(out, data)
        print(f"lungs network: {out / 'lungs.onnx'}; use it with --set data.lungs={out}")
        return
    if bundle:
        try:
            exported = export_run(out, data)
        except (KeyboardInterrupt, Terminated):
            films = [word for source in data for word in ("--data", source)]
            say(
                f"interrupted; the run is trained. Export it with: {shlex.join(['pneumoscan', 'export', str(out), *films])}"
            )
            raise
        print(
            f"bundle: {exported.bundle} (agrees with torch to {exported.largest_difference:.1e} on {exported.films} films)"
        )
        right, read = report_val(out, data)
        if read:
            print(
                f"split val: {right} of {read} correct (reported only; one film is {100 / read:.3g} points)"
            )


class TrainingDisplay:
    """Progress of a training: a live bar on a terminal, and one line per epoch."""

    def __init__(self, events: Path | None) -> None:
        self._events = events
        self._stack = ExitStack()
        self._writer: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> "TrainingDisplay":
        if self._events is not None:
            self._writer = _event_writer(self._events / "tensorboard")
            self._stack.callback(self._writer.close)
        if sys.stderr.isatty():
            self._bar = self._stack.enter_context(_training_bar())
            self._task = self._bar.add_task("training", total=None, loss=float("nan"), speed=0.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=f"epoch {epoch}",
                completed=step,
                total=steps,
                loss=loss,
                speed=films_per_second,
            )

    def epoch(self, record: "EpochRecord", history: "list[EpochRecord]") -> None:
        """Print the line of an epoch and write its TensorBoard events."""
        if len(history) == 1:
            figure = "AUC " if "val_auc" in record else "Dice"
            self._say(
                f"epoch   train loss   acc      val loss   acc      {figure}     rate      films/s  minutes"
            )
        self._say(
            f"{record['epoch']:>5}   {record['train_loss']:>10.4f}   {record['train_accuracy']:.4f}   "
            f"{record['val_loss']:>8.4f}   {record['val_accuracy']:.4f}   {record.get('val_auc', record.get('val_dice_field', nan)):.4f}   "
            f"{record['learning_rate']:<8.2e}  {record['films_per_second']:>7.0f}  "
            f"{(time.monotonic() - self._started) / 60:>7.1f}"
        )
        if self._writer is not None:
            for key, value in record.items():
                if key != "epoch":
                    self._writer.add_scalar(key, value, record["epoch"])

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(text)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _training_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[speed]:.0f} films/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _event_writer(folder: Path) -> Any:
    from pneumoscan.errors import importing

    with importing(otherwise="Or leave out --tensorboard."):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder))


@click.command(short_help="Write the bundle of a finished run.")
@click.argument("run", type=click.Path(path_type=Path))
@data_option("The films that the run was trained on; both runtimes classify the held-out ones.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle [RUN/bundle].")
@click.option("--name", default="", help="Name of the model [PRESET-seedN].")
@click.option(
    "--stress",
    type=click.Path(path_type=Path),
    help="metrics.json of `evaluate RUN --split held-out --stress`; its stress table is added to the records.",
)
@click.option(
    "--left-out",
    type=click.Path(path_type=Path),
    multiple=True,
    help="hospitals.csv of the same training without a hospital (studies/hospitals.py): what to expect elsewhere. May be repeated.",
)
@click.option(
    "--aerated-alone",
    is_flag=True,
    help="A model of lungs sees the aerated lung alone, although training showed part of the films with their surroundings.",
)
@click.option(
    "--records-only",
    is_flag=True,
    help="Only write the records of the existing bundle again.",
)
def export(
    run: Path,
    data: tuple[str, ...],
    out: Path | None,
    name: str,
    stress: Path | None,
    left_out: tuple[Path, ...],
    aerated_alone: bool,
    records_only: bool,
) -> None:
    """Write the bundle of a run. Torch and ONNX Runtime first classify the held-out films and must agree.

    RUN is the run folder of a finished training.
    """
    from pneumoscan.cli.options import progress
    from pneumoscan.train.export import export_run, record_run

    with progress("Decoding films") as decoding:
        if records_only:
            bundle = record_run(run, data, out, stress=stress, decoding=decoding)
            print(f"records: {bundle.path / 'records.json'}")
            return
        exported = export_run(
            run,
            data,
            out,
            name=name,
            stress=stress,
            left_out=left_out,
            aerated_alone=aerated_alone,
            decoding=decoding,
        )
    print(f"bundle: {exported.bundle}")
    print(
        f"torch and ONNX Runtime agree to {exported.largest_difference:.1e} on {exported.films} held-out films"
    )
    for chosen, point in exported.spec.thresholds.items():
        print(f"  {chosen}: threshold {point['threshold']:.4f}")


@click.command(short_help="Write the model card of a run or bundle.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    multiple=True,
    metavar="[NAME=]DIR",
    help="The films that the run was trained on; it is measured on the held-out ones. May be given once per site.",
)
@click.option("--records", type=click.Path(path_type=Path), help="Folder of the measurements [RUN/card].")
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    help="TOML file with texts of yours, such as patients and purpose [about.toml in the folder of the measurements].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The card [MODEL_CARD.md beside the folder of the measurements].",
)
@click.option(
    "--checklist",
    type=click.Choice(["claim", "tripod"]),
    help="Write a reporting checklist instead of the card: CLAIM 2024 or TRIPOD+AI.",
)
@click.option(
    "--check", is_flag=True, help="Write nothing; the exit code is 1 if the card is not up to date."
)
@workers_option
def card(
    model: Path,
    data: tuple[str, ...],
    records: Path | None,
    about: Path | None,
    out: Path | None,
    checklist: str | None,
    check: bool,
    workers: int | None,
) -> None:
    """Write the model card: purpose, figures, limits and origin of a model.

    MODEL is an exported run folder, or a bundle. With --data the run is measured first. The card says which
    measurements are missing.
    """
    from pneumoscan.card import card as card_of
    from pneumoscan.card import difference
    from pneumoscan.card.checklist import TEXTS, file_of, read_texts
    from pneumoscan.card.checklist import checklist as filled
    from pneumoscan.files import check_writable, write_atomic

    folder = records or (model / "card" if data or (model / "card").is_dir() else None)
    page = out or (folder.parent if folder else Path()) / (
        file_of(checklist) if checklist else "MODEL_CARD.md"
    )
    if data and folder and not check:
        check_writable(page)
        _measure(model, data, folder, workers)
    known = _read(model, folder, page, about)
    if checklist:
        beside = about.parent if about else folder
        text = filled(known, checklist, read_texts(beside / TEXTS, checklist) if beside else {})
    else:
        text = card_of(known)
    if not check:
        write_atomic(page, text)
        print(f"{'checklist' if checklist else 'card'}: {page}")
        return
    found = difference(text, page)
    if found:
        print(found, f"{page} is not up to date: run the same command without --check.", sep="\n")
        sys.exit(1)


def _read(model: Path, folder: Path | None, page: Path, about: Path | None) -> "Records":
    """Read the records; the card names their folder relative to itself."""
    from pneumoscan.card import read_records

    where = "" if folder is None else Path(os.path.relpath(folder, page.parent)).as_posix()
    return read_records(model, folder, where="" if where == "." else where, about=about)


def _measure(model: Path, data: tuple[str, ...], folder: Path, workers: int | None) -> None:
    from pneumoscan.card import measure_run
    from pneumoscan.cli.options import command_line, progress

    with progress("Reading films in 11 views") as report:
        measure_run(
            model,
            data,
            folder,
            workers=workers,
            progress=report,
            note=say,
            command=command_line(),
        )


@click.group(no_args_is_help=True)
def model() -> None:
    """List the networks and show their layers."""


@model.command("list")
def list_networks() -> None:
    """Print the names of the networks."""
    from pneumoscan.networks.registry import NETWORKS

    print("\n".join(sorted(NETWORKS)))


@model.command(short_help="Print the layers of a network.")
@click.argument("name")
@click.option("--size", type=click.IntRange(16, 1024), default=200, help="Side of the input in pixels.")
def show(name: str, size: int) -> None:
    """Print the layers of a network with their outputs and parameters.

    NAME is the name of a network, for example baseline.
    """
    from pneumoscan.networks.registry import config_of, layer_table

    rows = layer_table(config_of(name), size)
    print(f"{'layer':<38}{'output':>14}{'parameters':>14}")
    for row in rows:
        print(
            f"{row.name:<38}{row.output:>14}{row.parameters:>14,}"
            if row.parameters
            else f"{row.name:<38}{row.output:>14}"
        )
    print(f"{'total':<38}{'':>14}{sum(row.parameters for row in rows):>14,}")
