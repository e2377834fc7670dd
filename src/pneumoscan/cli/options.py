"""What several commands share: options, lines on stderr, a bar of progress."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="PNEUMOSCAN_MODEL",
    show_envvar=True,
    help="Bundle, run folder with a bundle, or baseline [the model in the package].",
)

node_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="node.toml",
    help="Settings of the node.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
workers_option = click.option(
    "--workers", type=click.IntRange(1), help="Films read at the same time [cores + 1]."
)
threshold_option = click.option(
    "--threshold", type=click.FloatRange(0.0, 1.0), help="Label a film PNEUMONIA from this probability on."
)
point_option = click.option("--operating-point", help="Use the model's threshold of this name.")
recursive_option = click.option(
    "--recursive/--no-recursive", default=True, help="Read the subfolders of a folder too."
)
figures_option = click.option(
    "--figures",
    multiple=True,
    type=click.Choice(["svg", "pdf"]),
    help="Also write each graph for a paper to paper/, with text as text. May be repeated.",
)


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def data_option(text: str, *, required: bool = True) -> Callable[[Any], Any]:
    """Return the option `--data [NAME=]PATH`, which may be given once for each site."""
    return click.option(
        "--data",
        multiple=True,
        required=required,
        metavar="[NAME=]PATH",
        help=f"{text} May be given once per site.",
    )


def command_line() -> str:
    """Return the command that runs as one line for a shell, with what was given and what its defaults name."""
    context = click.get_current_context()
    words = ["pneumoscan", *context.command_path.split()[1:]]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.multiple if isinstance(option, click.Option) else option.nargs != 1:
            given = [str(each) for each in value or ()]
        else:
            given = [] if value is None or value is False or value == "" else [str(value)]
        if isinstance(option, click.Argument):
            words += given
        elif isinstance(option, click.Option) and option.is_flag:
            words += option.opts[:1] if given else []
        else:
            words += [word for each in given for word in (option.opts[0], each)]
    return shlex.join(words)


Report = Callable[[int, int], None]

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Show the progress of a task; yields a function to call with `(done, total)`.

    On a terminal this is a bar with the remaining time, which disappears at the end (without colour if `NO_COLOR` is set).
    Elsewhere it is at most one line every few seconds, and one at the end of a longer task. Nothing is written to stdout. A
    `total` of 0 means that the total is unknown.

        with progress("Decoding films") as report:
            open_cache(manifest, size=200, progress=report)
    """
    with _bar(what) if _is_terminal() else _lines(what) as report:
        yield report


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total or None)

        yield report


@contextmanager
def _lines(what: str) -> Iterator[Report]:
    start = last = time.monotonic()
    said = seen = ""

    def report(done: int, total: int) -> None:
        nonlocal last, said, seen
        seen = f"{done} of {total}" if total else f"{done}"
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last, said = time.monotonic(), seen
            print(f"{what}: {seen}", file=sys.stderr, flush=True)

    yield report
    if said:
        print(f"{what}: {seen}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
