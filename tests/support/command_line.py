"""The command line in this process: its words, streams, warnings and exit code, without the start of a Python."""

import contextlib
import io
import os
import signal
import sys
import warnings
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from pneumoscan import cli


def run(*words: object, cwd: Path | None = None, **environment: str) -> "CompletedProcess[str]":
    """Run `pneumoscan` with these words, as a process would, and return what it said and its exit code."""
    command = ["pneumoscan", *map(str, words)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    handler, code = signal.getsignal(signal.SIGTERM), None
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, environment),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        # The filters of a Python that was just started.
        warnings.simplefilter("default")
        for kind in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
    said = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return CompletedProcess(command, code, *said)
