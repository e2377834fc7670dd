"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from pneumoscan import __version__
from pneumoscan.errors import PneumoscanError, Terminated
from pneumoscan.memory import keep_freed_memory

app = typer.Typer(
    name="pneumoscan",
    help="Find pneumonia in chest X-rays: train a network, judge it, read new films. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: brackets in it are text, and it comes without the time that rich takes to import.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"pneumoscan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    """Take the options that stand before a command."""


def _register() -> None:
    """Import the command modules; each adds its own commands to `app`."""
    from pneumoscan.apps.cli import data, demo, doctor, evaluate, export, model, predict, train  # noqa: F401


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> NoReturn:
    """Run the command line; returns to the shell with the exit codes that the README lists."""
    _register()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except PneumoscanError as error:
        _report(error)
        sys.exit(error.exit_code)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(143)
    sys.exit(0)


def _report(error: PneumoscanError) -> None:
    print(f"error [{error.code}]: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"  {error.remedy}", file=sys.stderr)
