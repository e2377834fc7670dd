"""Films and workers, as the pool sees them: a film that waits or is read, their queue, and one worker: start, requests, end."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscan.system import spawn_options
from pneumoscan.workers import protocol
from pneumoscan.workers.protocol import ProtocolError, Reading, Want

COMMAND = (sys.executable, "-P", "-m", "pneumoscan.workers.worker")
# The environment variables that a worker gets; the service's token is not among them.
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
)
# One film at a time needs one thread. With a fixed size from which blocks are mapped, the memory stays constant. Otherwise the C
# library would raise this size with the first large film, and the heap would become fragmented.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
}
_BUFFER = 4 << 20
_PIECE = 1 << 18
_JOINED = 1 << 20
_LAST_WORD_SECONDS = 0.5
_REAP_SECONDS = 2.0


# No repr, because it would contain the bytes of the film.
@dataclass(eq=False, repr=False)
class FilmJob:
    """One film that waits or is being read.

    Attributes:
        threshold: Threshold in [0, 1].
        answer: The reading or the error; cancelled if it is no longer needed.
        given_back: Whether a worker ended before it received the film. The film is then sent to another worker, once.
    """

    film: bytes
    threshold: float
    want: Want
    answer: "asyncio.Future[Reading]"
    given_back: bool = False

    @property
    def answered(self) -> bool:
        """Whether the job has its answer, or no longer needs one."""
        return self.answer.done()

    def succeed(self, reading: Reading) -> None:
        """Answer the job with its reading."""
        if not self.answered:
            self.answer.set_result(reading)

    def fail(self, problem: Exception) -> None:
        """Answer the job with an error."""
        if not self.answered:
            self.answer.set_exception(problem)


class JobQueue:
    """Waiting films, idle workers, and films that are being read.

    Args:
        most_waiting: Maximum number of waiting films, at least 0.
    """

    def __init__(self, most_waiting: int) -> None:
        self.busy: set[FilmJob] = set()
        self._most_waiting = most_waiting
        self._waiting: deque[FilmJob] = deque()
        self._idle: list[asyncio.Future[FilmJob | None]] = []

    @property
    def waiting(self) -> int:
        """Number of waiting films."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """Number of idle workers."""
        return len(self._idle)

    @property
    def unanswered(self) -> bool:
        """Whether a film still needs an answer."""
        return any(not job.answered for job in (*self.busy, *self._waiting))

    def put(self, job: FilmJob) -> bool:
        """Give the film to an idle worker, or add it to the queue; return False if the queue is full."""
        if self._hand_over(job):
            return True
        if len(self._waiting) >= self._most_waiting:
            return False
        self._waiting.append(job)
        return True

    def put_back(self, job: FilmJob) -> None:
        """Put a film that no worker received at the head of the queue."""
        if not self._hand_over(job):
            self._waiting.appendleft(job)

    def withdraw(self, job: FilmJob) -> None:
        """Remove the film from the queue, if it is still there."""
        if job in self._waiting:
            self._waiting.remove(job)

    def take_waiting(self) -> list[FilmJob]:
        """Remove and return all waiting films."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    async def next(self, worker: "WorkerProcess") -> FilmJob | None:
        """Wait for a film for this worker; None if the worker ends or sends data in the meantime."""
        if self._waiting:
            job = self._waiting.popleft()
            self.busy.add(job)
            return job
        turn: asyncio.Future[FilmJob | None] = asyncio.get_running_loop().create_future()

        def lost() -> None:
            if not turn.done():
                self._idle.remove(turn)
                turn.set_result(None)

        self._idle.append(turn)
        worker.watch(lost)
        try:
            return await turn
        finally:
            worker.unwatch()
            if turn in self._idle:
                self._idle.remove(turn)

    def _hand_over(self, job: FilmJob) -> bool:
        if not self._idle:
            return False
        self.busy.add(job)
        self._idle.pop().set_result(job)
        return True


class WorkerProcess:
    """A worker process and its socket; belongs to one event loop and reads one film at a time."""

    def __init__(self, model: Path, memory_mb: int, command: Sequence[str] = COMMAND) -> None:
        """Start the process.

        Raises:
            OSError: The system cannot start another process.
        """
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._sock, theirs = socket.socketpair()
        try:
            for end in (self._sock, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._sock.setblocking(False)
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(model), str(memory_mb), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                # Messages of the C libraries about a film must not reach the log.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _ENVIRONMENT,
                # Ctrl-C at the terminal reaches only the process group of the service.
                **spawn_options(theirs.fileno()),
            )
        except OSError:
            self._sock.close()
            raise
        finally:
            theirs.close()

    async def ready(self) -> None:
        """Wait until the worker has loaded the model.

        Raises:
            PneumoscanError: The model cannot be loaded.
            EOFError, OSError: The worker ended.
            ProtocolError: It sent an invalid answer.
        """
        protocol.reading_from(*await self._frame(), number=0)

    async def give(self, film: bytes, threshold: float, want: Want) -> None:
        """Send a film to the worker.

        Raises:
            OSError: The worker ended.
        """
        self._number += 1
        head = protocol.question(self._number, film, threshold, want)
        if len(film) <= _JOINED:
            # A copy takes less time than waking the worker twice.
            await self._loop.sock_sendall(self._sock, head + film)
        else:
            await self._loop.sock_sendall(self._sock, head)
            await self._loop.sock_sendall(self._sock, film)

    async def answer(self) -> Reading:
        """Wait for the answer to the film.

        Raises:
            PneumoscanError: The error of the film.
            EOFError, OSError: The worker ended.
            ProtocolError: It sent an invalid answer, and must be ended.
        """
        return protocol.reading_from(*await self._frame(), number=self._number)

    def watch(self, then: Callable[[], None]) -> None:
        """Call `then` if the worker ends, or sends data without a request."""
        self._loop.add_reader(self._sock, then)

    def unwatch(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._sock)

    async def last_word(self) -> str:
        """Return how the process ended, as text, after its socket closed."""
        code = await self._reaped(_LAST_WORD_SECONDS)
        if code is None:
            return "closed its socket"
        if code < 0:
            known = -code in set(signal.Signals)
            return f"was ended by {signal.Signals(-code).name if known else f'signal {-code}'}"
        return f"ended with exit code {code}"

    async def end(self) -> None:
        """Kill the process, which needs no orderly end. A second call has no effect."""
        self._sock.close()
        self._process.kill()
        try:
            await self._reaped(_REAP_SECONDS)
        except asyncio.CancelledError:
            # The pool is being stopped; a killed process ends quickly.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAP_SECONDS)
            raise

    async def _reaped(self, seconds: float) -> int | None:
        """Wait for its exit code, at most this long."""
        pause, until = 0.001, self._loop.time() + seconds
        while (code := self._process.poll()) is None and self._loop.time() < until:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        return code

    async def _frame(self) -> tuple[dict[str, Any], bytes]:
        data = bytearray()
        await self._fill(data, protocol.LENGTHS.size)
        head, tail = protocol.lengths(data[: protocol.LENGTHS.size])
        start = protocol.LENGTHS.size + head
        await self._fill(data, start + tail)
        if len(data) > start + tail:
            raise ProtocolError("said more than one thing")
        return protocol.head_of(data[protocol.LENGTHS.size : start]), bytes(data[start:])

    async def _fill(self, data: bytearray, count: int) -> None:
        while len(data) < count:
            piece = await self._loop.sock_recv(self._sock, _PIECE)
            if not piece:
                raise EOFError
            data += piece
