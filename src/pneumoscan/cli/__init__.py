"""The command line. A command is imported when it is named, and its dependencies when it runs."""

import signal
import sys
import warnings
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn, TextIO

import click

from pneumoscan import __version__
from pneumoscan.errors import PneumoscanError, Terminated, as_missing

COMMANDS = (
    "adapt", "archive", "card", "compare", "demo", "doctor", "evaluate", "export", "node", "predict", "serve", "study", "train", "data", "model",
)  # fmt: skip
_MODULES = {
    **dict.fromkeys(("adapt", "compare"), "evaluate"), **dict.fromkeys(("card", "export", "model"), "train"), "doctor": "demo",
}  # fmt: skip


_show_warning = warnings.showwarning


class Commands(click.Group):
    """The group of commands. A command is imported when it is needed, from the module with its name or from that of `_MODULES`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, or None if there is none with this name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of the arguments.

        Ctrl-C ends it without output, as shells expect. What an extra would install is told by the name of the extra,
        wherever the command imports it.
        """
        try:
            return super().invoke(ctx)
        except ImportError as problem:
            missing = as_missing(problem, ctx.invoked_subcommand or "")
            if missing is None:
                raise
            raise missing from problem
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None


@click.group(
    name="pneumoscan",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, message="pneumoscan %(version)s", help="Print the version and exit.")
def app() -> None:
    """Find pneumonia in chest X-rays: train a network, evaluate it, classify new films. Research use only."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _notice(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print in one line that a name has changed; print any other warning as Python does."""
    if issubclass(category, FutureWarning) and "pneumoscan" in filename:
        print(f"notice: {message}", file=sys.stderr)
    else:
        _show_warning(message, category, filename, lineno, file, line)


def main() -> NoReturn:
    """Run the command line and exit with one of the exit codes of docs/cli.md."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _notice
    # A name may have bytes that are not UTF-8, and the terminal may lack characters.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
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
