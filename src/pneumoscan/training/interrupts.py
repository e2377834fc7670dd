"""Delay Ctrl-C and SIGTERM until the end of a step, so that a checkpoint is written before a run ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from pneumoscan.errors import Terminated


@dataclass
class Caught:
    """The signal that arrived, if any."""

    number: int | None = None

    def throw(self) -> None:
        """Raise the exception of the signal; that of SIGINT if another process received the signal."""
        raise Terminated if self.number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Caught]:
    """Store SIGINT and SIGTERM until the end of the step; a second signal acts at once."""
    caught = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def remember(number: int, _frame: FrameType | None) -> None:
        if caught.number is not None:
            caught.throw()
        caught.number = number

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught.number is not None:
        caught.throw()
