"""A process that reads films: each line on stdin is a JSON list of paths and URLs, each line on stdout the row of one of them.

    python -P -m pneumoscan.archive.reader MODEL THRESHOLD PARENT

Its first line says which model it has loaded. It is started by `reading`, and ends with its parent or when its stdin closes. A
film that ends or blocks the process costs nothing else: the parent knows how many rows have come.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pneumoscan.error_values import error_values
from pneumoscan.errors import FilmError, PneumoscanError
from pneumoscan.system import end_with_parent

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle
    from pneumoscan.rows import PredictionRow


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
    from pneumoscan.archive.plan import model_facts
    from pneumoscan.bundle.load import load_bundle

    bundle = load_bundle(model, threads=1)
    _say(answers, model_facts(bundle))
    for line in sys.stdin:
        for row in rows_of(bundle, json.loads(line), threshold):
            _say(answers, row.to_json())


def rows_of(bundle: "Bundle", paths: list[str], threshold: float) -> "Iterator[PredictionRow]":
    """Yield the row of every path or URL in order, as `pneumoscan predict` writes it."""
    from pneumoscan.archive.storage import is_url
    from pneumoscan.predict.loop import predict_many

    for remote, names in groupby(paths, is_url):
        if remote:
            yield from _fetched_rows(bundle, names, threshold)
        else:
            yield from predict_many(bundle, names, workers=1, threshold=threshold)


def _fetched_rows(bundle: "Bundle", paths: Iterable[str], threshold: float) -> "Iterator[PredictionRow]":
    from pneumoscan.archive.film_bytes import fetched
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
