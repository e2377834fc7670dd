"""Processes that are started once and measure on request.

This module uses only the standard library, because the interpreter of Keras imports it too.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from benchmarks.timing import quiet_environment


class Closing:
    """An object that a `with` block closes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the resources."""
        raise NotImplementedError


class Worker(Closing):
    """A process that is started once, warms up, and then measures on request. Otherwise it waits on its stdin."""

    def __init__(self, command: Sequence[str], *, core: int | None = None, gpu: bool = False) -> None:
        # The file needs no name; its text is read only if the worker fails.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        before = os.sched_getaffinity(0)
        if core is not None:
            os.sched_setaffinity(0, {core})  # the child inherits it
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=quiet_environment(gpu=gpu),
            )
        finally:
            os.sched_setaffinity(0, before)
        try:
            self.facts = self._receive()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the worker, and kill it if it does not end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"a worker ended with {code}: {self._errors.read().decode()[-800:].strip()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Wire:
    """The side of the worker: requests arrive on stdin, and answers are written to the original stdout."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # output of libraries must not mix with the answers

    def send(self, **answer: Any) -> None:
        """Send an answer; the first one means that the worker is ready."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests until the other end closes."""
        while line := sys.stdin.readline():
            yield json.loads(line)
