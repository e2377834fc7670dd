"""`pneumoscan study`: run the comparisons of a plan, and write the report from their records."""

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumoscan.cli.options import data_option, figures_option
from pneumoscan.errors import Terminated, UsageError

if TYPE_CHECKING:
    from pneumoscan.cli.options import Report
    from pneumoscan.study.execute import StudyOrder
    from pneumoscan.study.forecast import Forecast
    from pneumoscan.study.trial import TrialAnswer
    from pneumoscan.study.trial_records import StudyFacts
    from pneumoscan.study.trials import Planned

SECONDS_BETWEEN_LINES = 60.0


class _RunByDefault(click.Group):
    """A group whose default command is `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `run` if the first argument is not a command."""
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_RunByDefault, short_help="Run a plan of comparisons and write the report.", no_args_is_help=True
)
def study() -> None:
    """Run the comparisons of a plan and write the report.

    `pneumoscan study PLAN …` is short for `pneumoscan study run PLAN …`.
    """


@study.command(short_help="Train the remaining trials of a plan, then write the report.")
@click.argument("plan", type=click.Path(path_type=Path))
@data_option("Folder or table of films; its split train is used.", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for records and report.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for checkpoints and weights [OUT/work]."
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, help="Trials at the same time; they share the cores."
)
@click.option("--launcher", type=click.Choice(["local", "ray"]), default="local", help="Where trials run.")
@click.option("--only", multiple=True, metavar="SECTION", help="Only this section; may be repeated.")
@click.option(
    "--seeds", type=click.IntRange(0, 50), default=0, help="Minimum number of seeds of every variant."
)
@figures_option
@click.option("--dry-run", is_flag=True, help="Only print the trials and their estimated time.")
def run(
    plan: Path,
    data: tuple[str, ...],
    out: Path | None,
    work: Path | None,
    jobs: int,
    launcher: str,
    only: tuple[str, ...],
    seeds: int,
    figures: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train the remaining trials of PLAN, a TOML file, then write the report.

    The same command continues a study that was stopped.
    """
    if dry_run:
        from pneumoscan.study.forecast import forecast_of

        _print_forecast(forecast_of(plan, data=data or None, out=out, jobs=jobs, only=only, seeds=seeds))
        return
    if not data or out is None:
        raise UsageError("a study needs --data and --out.", "Only --dry-run works without them.")
    from pneumoscan.study.execute import StudyOrder, run_study

    order = StudyOrder(data, out, work, jobs, launcher, only, seeds)
    with Board(order) as board:
        try:
            answers = run_study(plan, order, board, decoding=board.decoding)
        except (KeyboardInterrupt, Terminated):
            board.note("interrupted; the same command continues the study")
            raise
    print(f"{len(answers)} trials trained: {_tally(answers)}")
    from pneumoscan.evaluate.drawing import for_papers
    from pneumoscan.study.report import write_report

    with for_papers(figures):
        print(f"report: {write_report(out)}")


@study.command(short_help="Write the report again from the records.")
@click.argument("out", type=click.Path(path_type=Path))
@figures_option
def report(out: Path, figures: tuple[str, ...]) -> None:
    """Write page, graphs and tables of the study in OUT again, from its records alone."""
    from pneumoscan.evaluate.drawing import for_papers
    from pneumoscan.study.report import write_report

    with for_papers(figures):
        print(f"report: {write_report(out)}")


class Board:
    """Progress of a study: a live table on a terminal; elsewhere a line when a trial begins or ends, and one per minute."""

    def __init__(self, order: "StudyOrder") -> None:
        self._order = order
        self._lock = threading.RLock()
        self._planned: dict[str, Planned] = {}
        self._ended: list[str] = []
        self._running: dict[str, float] = {}
        self._left = 0.0
        self._counted = time.monotonic()
        self._stack = ExitStack()
        self._live: Any = None
        self._bar = ExitStack()
        self._decoding: Report | None = None
        self._stop = threading.Event()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._bar.close()
        self._stack.close()

    def decoding(self, done: int, total: int) -> None:
        """Show how many films are decoded."""
        from pneumoscan.cli.options import progress

        if self._decoding is None:
            self._decoding = self._bar.enter_context(progress("Decoding films"))
        self._decoding(done, total)

    def planned(self, trials: "Sequence[Planned]", ended: Sequence[str]) -> None:
        """Set the trials of the study."""
        later = "" if self._planned else "; then the best variants are confirmed"
        with self._lock:
            self._planned = {each.trial.name: each for each in trials}
            self._ended = list(ended)
            self._count()
        self._begin()
        self._say(
            f"{len(self._ended)} of {len(self._planned)} trials are done, the others take about {self._time_left()}{later}"
        )

    def begun(self, name: str) -> None:
        """Show a trial as running."""
        with self._lock:
            self._running[name] = time.monotonic()
        self._plain(f"begun: {self._planned[name].title} ({name})")

    def ended(self, answer: "TrialAnswer") -> None:
        """Show a trial as ended."""
        with self._lock:
            started = self._running.pop(answer.name, time.monotonic())
            self._ended.append(answer.name)
            self._count()
        reason = f": {answer.reason}" if answer.reason else ""
        self._say(
            f"{answer.status}: {self._planned[answer.name].title}, {time.monotonic() - started:.0f} s{reason} "
            f"[{len(self._ended)} of {len(self._planned)}, about {self._time_left()} left]"
        )

    def note(self, text: str) -> None:
        """Show a line."""
        self._say(text)

    def _begin(self) -> None:
        # Two live displays would write over each other.
        self._bar.close()
        if self._live is not None or self._stop.is_set():
            return
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)
            self._live = self._stack.enter_context(live)
        else:
            self._live = threading.Thread(target=self._tick, daemon=True)
            self._live.start()

    def _tick(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LINES):
            with self._lock:
                running = [(name, self._progress(name)) for name in self._running]
            for name, state in running:
                where = (
                    f"epoch {state['epoch']} of {state['epochs']}, loss {state['loss']:.4f}"
                    if state
                    else "evaluation"
                )
                self._plain(f"running: {self._planned[name].title}, {where}; about {self._time_left()} left")

    def _table(self) -> Any:
        from rich.table import Table

        with self._lock:
            running, ended, all_ = dict(self._running), len(self._ended), len(self._planned)
        table = Table(
            title=f"{ended} of {all_} trials done, about {self._time_left()} left", title_justify="left"
        )
        for column in ("running", "epoch", "step", "loss", "films/s", "minutes"):
            table.add_column(column, justify="left" if column == "running" else "right")
        for name, started in running.items():
            state = self._progress(name)
            minutes = f"{(time.monotonic() - started) / 60:.1f}"
            cells = ["", "", "", ""]
            if state:
                cells = [
                    f"{state['epoch']}/{state['epochs']}",
                    f"{state['step']}/{state['steps']}",
                    f"{state['loss']:.4f}",
                    f"{state['films_per_second']:.0f}",
                ]
            table.add_row(self._planned[name].title, *cells, minutes)
        return table

    def _progress(self, name: str) -> dict[str, Any]:
        from pneumoscan.study.trial import read_progress

        return read_progress(self._order.work_folder, name)

    def _count(self) -> None:
        """Estimate the remaining time from the finished trials."""
        from pneumoscan.study.forecast import seconds_left
        from pneumoscan.study.trial_records import StudyFolder, read_facts

        folder = StudyFolder(self._order.out)
        facts: StudyFacts | None = read_facts(folder)
        if facts is not None:
            planned = list(self._planned.values())
            self._left = seconds_left(folder, facts, planned, self._ended, self._order.jobs)
            self._counted = time.monotonic()

    def _time_left(self) -> str:
        from pneumoscan.study.forecast import in_words

        return in_words(max(0.0, self._left - (time.monotonic() - self._counted)))

    def _say(self, text: str) -> None:
        """Print a line, above the table if there is one."""
        if self._live is not None and hasattr(self._live, "console"):
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _plain(self, text: str) -> None:
        """Print a line if there is no table."""
        if not hasattr(self._live, "console"):
            print(text, file=sys.stderr, flush=True)


def _print_forecast(forecast: "Forecast") -> None:
    from pneumoscan.study.forecast import in_words

    for number, entry in enumerate(forecast.entries, start=1):
        also = f"  (also {', '.join(entry.places[1:])})" if len(entry.places) > 1 else ""
        status = f"  {entry.status}" if entry.status else ""
        print(f"{number:>4}  {entry.title:<58} {in_words(entry.seconds):>7}{status}{also}")
    films = f"{forecast.sizes.train:,} films to train on, {forecast.sizes.held_out:,} held out"
    if forecast.assumed:
        films += " (as in the public set; use --data for yours)"
    measured = forecast.pace.measured
    basis = (
        f"by {measured} measured trial{'' if measured == 1 else 's'}"
        if measured
        else "by a cost model, for two cores with bfloat16"
    )
    print(f"{len(forecast.entries)} trials, {len(forecast.left)} left; {films}")
    print(f"about {in_words(forecast.seconds_left)} with {forecast.jobs} at once, {basis}")


def _tally(answers: "Sequence[TrialAnswer]") -> str:
    statuses = [answer.status for answer in answers]
    counts = [f"{statuses.count(status)} {status}" for status in ("done", "diverged", "failed")]
    return ", ".join(count for count in counts if not count.startswith("0 ")) or "all were done already"
