"""A worker process for trials: each line on stdin is a task, each line on stdout a result.

It ends when its stdin closes, so that no trial continues after the process of the study was killed.
"""

import json
import queue
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn, TextIO

from pneumoscan.error_values import error_values
from pneumoscan.errors import PneumoscanError, Terminated
from pneumoscan.system import ask_self_to_end


def main() -> int:
    """Execute tasks until stdin closes; return the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    # Output of libraries must not mix with the results.
    answers, sys.stdout = sys.stdout, sys.stderr
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    try:
        while (text := tasks.get()) is not None:
            _answer(text, answers)
    except Terminated:
        return 143
    return 0


def _answer(text: str, answers: TextIO) -> None:
    # Imported here, so that a missing library is reported in a line.
    from pneumoscan.study.trial import Task, perform

    try:
        answer = perform(Task.from_text(text)).to_text()
    except PneumoscanError as problem:
        answer = json.dumps(error_values(problem))
    print(answer, file=answers, flush=True)


def _read(tasks: "queue.SimpleQueue[str | None]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    tasks.put(None)
    # The process of the study has ended: a running trial writes a checkpoint and ends.
    ask_self_to_end()


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
