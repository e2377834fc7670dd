"""Read films in a process of their own, so that a film that ends or blocks it costs nothing else.

If the process ends, its rows so far are kept, another one is started, and the next films are read one at a time. A film that
ends the process again and again, alone, gets a refused row. That takes four times, because the process may also be killed by
something else, and such a film must not be refused.

    python -P -m pneumoscan.archive.film_readers MODEL THRESHOLD PARENT

is the process: each line on stdin is a JSON list of paths and URLs, each line on stdout the row of one of them. Its first line
says which model it has loaded. It ends with its parent or when its stdin closes.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pneumoscan.archive.inputs import ArchiveSettings
from pneumoscan.error_values import error_from, error_values
from pneumoscan.errors import (
    BundleError,
    EnvironmentProblemError,
    FilmCrashError,
    FilmError,
    FilmTimeoutError,
    PneumoscanError,
)
from pneumoscan.rows import COLUMNS, PredictionRow, refused_row
from pneumoscan.system import end_with_parent, spawn_options

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.rows import PredictionRow

COMMAND = (sys.executable, "-P", "-m", "pneumoscan.archive.film_readers")
MOST_DEATHS = 4
# More than the films that a reader may hold at once.
_READ_ALONE = 16
_SECONDS_A_FILM = 60.0
_MOST_STARTS = 12
_LONGEST_PAUSE = 10.0


class FilmReader:
    """A process that reads films, and its successors. One thread uses it.

    Args:
        seconds: For one film; then its process is killed.
    """

    def __init__(
        self,
        model: Path,
        settings: ArchiveSettings,
        *,
        seconds: float = _SECONDS_A_FILM,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._model, self._settings, self._seconds, self._command = model, settings, seconds, command
        self._process: _Process | None = None
        self._closed = False

    def rows(self, paths: Sequence[str]) -> list[PredictionRow]:
        """Return one row for each path or URL, in order.

        Raises:
            PneumoscanError: What concerns every film: the model, the connection, a process that does not start.
        """
        rows: list[PredictionRow] = []
        deaths = alone = 0
        while len(rows) < len(paths):
            at = len(rows)
            asked = paths[at : at + 1] if alone else paths[at:]
            rows += self._ask(asked)
            if len(rows) == at + len(asked):
                deaths, alone = 0, max(0, alone - 1)
                continue
            how = self._end()
            # A death counts against a film only if it was alone.
            deaths = deaths + 1 if alone and len(rows) == at else 0
            alone = alone or _READ_ALONE
            if deaths == MOST_DEATHS:
                rows.append(self._refused(paths[at], how))
                deaths = 0
        return rows

    def close(self) -> None:
        """End the process; `rows` in another thread then raises an error."""
        self._closed = True
        self._end(patience=0)

    def _ask(self, paths: Sequence[str]) -> list[PredictionRow]:
        """Return the rows that come, fewer than paths if the process ends."""
        process = self._running()
        return list(process.rows(paths))

    def _running(self) -> "_Process":
        starts = 0
        while self._process is None:
            if self._closed:
                raise PneumoscanError("reading was stopped.")
            starts += 1
            self._process = _Process(self._command, self._model, self._settings, self._seconds)
            if self._process.ready():
                break
            how = self._end()
            if starts == _MOST_STARTS:
                raise EnvironmentProblemError(
                    f"the process that reads films {how} {starts} times before it had loaded the model.",
                    "Check whether memory is short, or install pneumoscan again.",
                )
            time.sleep(min(0.1 * 2**starts, _LONGEST_PAUSE))
        return self._process

    def _end(self, patience: float = 0.5) -> str:
        process, self._process = self._process, None
        return "" if process is None else process.end(patience)

    def _refused(self, path: str, how: str) -> PredictionRow:
        """Return the row of a film that ended its process."""
        shown = ascii(path)[1:-1] if not path.isprintable() else path
        problem: FilmError
        if how == _TOO_SLOW:
            problem = FilmTimeoutError(
                f"{shown} took longer than {self._seconds:g} s to read.", "Save it with another program."
            )
        else:
            problem = FilmCrashError(
                f"the process that read {shown} {how}, {MOST_DEATHS} times.", "Save it with another program."
            )
        return refused_row(self._settings.model, path, self._settings.threshold, problem)


_TOO_SLOW = "took too long"


class _Process:
    """One process that reads films."""

    def __init__(
        self, command: Sequence[str], model: Path, settings: ArchiveSettings, seconds: float
    ) -> None:
        self._settings, self._seconds, self._late = settings, seconds, False
        self._until = time.monotonic() + seconds
        self._process = subprocess.Popen(
            [*command, str(model), repr(settings.threshold), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What the C libraries print about a film is for nobody's log.
            stderr=subprocess.DEVNULL,
            **spawn_options(),
        )
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def ready(self) -> bool:
        """Wait until it has loaded the model; return whether it has.

        Raises:
            PneumoscanError: It cannot.
            BundleError: It has loaded another model.
        """
        told = self._line()
        self._until = math.inf
        if told is None:
            return False
        if told != {"model": self._settings.model, "model_sha256": self._settings.model_sha256}:
            raise BundleError(
                f"the model on this machine is {told['model']}, not that of the archive.",
                "The same model must be at the same path on every machine.",
            )
        return True

    def rows(self, paths: Sequence[str]) -> Iterator[PredictionRow]:
        """Yield the rows of the paths in order, fewer if it ends.

        Raises:
            PneumoscanError: What concerns every film.
        """
        assert self._process.stdin is not None
        self._until = time.monotonic() + self._seconds
        try:
            self._process.stdin.write((json.dumps(list(paths)) + "\n").encode())
            self._process.stdin.flush()
        except OSError:
            return
        for path in paths:
            told = self._line()
            # Anything but the next row: it was replaced while it wrote, or is no reader any more.
            if told is None or tuple(told) != COLUMNS or told["path"] != path:
                return
            yield PredictionRow(**told | {"warnings": tuple(told["warnings"])})
        self._until = math.inf  # until it is asked again

    def end(self, patience: float) -> str:
        """Wait for so many seconds until it has ended, then kill it; say how it ended."""
        self._ended.set()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self._late:
            return _TOO_SLOW
        if code < 0:
            known = -code in set(signal.Signals)
            return f"was ended by {signal.Signals(-code).name if known else f'signal {-code}'}"
        return f"ended with exit code {code}"

    def _line(self) -> dict[str, Any] | None:
        """Return the next line; None if it has ended. Raises the error that the line tells."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self._until = time.monotonic() + self._seconds
        if not line.endswith(b"\n"):
            return None
        told: dict[str, Any] = json.loads(line)
        if "error" in told and "path" not in told:
            raise error_from(told)
        return told

    def _watch(self) -> None:
        """Kill it when no row has come for too long."""
        while not self._ended.wait(min(1.0, self._seconds / 4)) and self._process.poll() is None:
            if time.monotonic() > self._until:
                self._late = True
                self._process.kill()
                return


# The process that reads


def main(arguments: list[str]) -> int:
    """Read films until stdin closes; returns the exit code."""
    model, threshold, parent = arguments
    # Output of libraries must not mix with the rows.
    answers, sys.stdout = sys.stdout, sys.stderr
    end_with_parent()
    if os.getppid() != int(parent):  # it ended before this process could ask to end with it
        return 0
    try:
        _serve(Path(model), float(threshold), answers)
    except PneumoscanError as problem:
        _say(answers, error_values(problem))
        return 1
    return 0


def _serve(model: Path, threshold: float, answers: TextIO) -> None:
    from pneumoscan.archive.inputs import model_facts
    from pneumoscan.bundle.load import load_bundle

    bundle = load_bundle(model, threads=1)
    _say(answers, model_facts(bundle))
    for line in sys.stdin:
        for row in rows_of(bundle, json.loads(line), threshold):
            _say(answers, row.to_json())


def rows_of(bundle: "Bundle", paths: list[str], threshold: float) -> "Iterator[PredictionRow]":
    """Yield the row of every path or URL in order, as `pneumoscan predict` writes it."""
    from pneumoscan.archive.storage import is_url
    from pneumoscan.predict.batch import predict_many

    for remote, names in groupby(paths, is_url):
        if remote:
            yield from _fetched_rows(bundle, names, threshold)
        else:
            yield from predict_many(bundle, names, workers=1, threshold=threshold)


def _fetched_rows(bundle: "Bundle", paths: Iterable[str], threshold: float) -> "Iterator[PredictionRow]":
    from pneumoscan.archive.storage import fetched
    from pneumoscan.classifier import model_name, predict_one
    from pneumoscan.rows import refused_row

    for path, data in fetched(paths):
        if isinstance(data, FilmError):
            yield refused_row(model_name(bundle), path, threshold, data)
        else:
            yield predict_one(bundle, data, threshold, name=path)


def _say(answers: TextIO, values: dict[str, Any]) -> None:
    # ASCII, so that names that are not UTF-8 pass as escapes.
    answers.write(json.dumps(values) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
