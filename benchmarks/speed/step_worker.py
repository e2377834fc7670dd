"""Worker of training_speed: `ours [key=value …]`, `plain`, or `peak`. Asked for steps, it answers how long they took."""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.timing import Stopwatch
from benchmarks.workers import Wire

SIZE, BATCH = 200, 32


class _DoneError(Exception):
    """Nobody asks any more."""


class Rounds:
    """Observer of a real training that lets it run for as many steps as are asked for, and answers how long they took."""

    def __init__(self, wire: Wire, warm_up: int) -> None:
        self._wire, self._requests = wire, wire.requests()
        self._left, self._warm, self._watch = warm_up, False, Stopwatch()

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:  # noqa: ARG002
        """Count; at the end of a round answer, and wait for the next."""
        self._left -= 1
        if self._left == 0:
            self._wire.send(**(self._watch.read() if self._warm else {"torch": torch.__version__}))
            self._warm = True
            request = next(self._requests, None)
            if request is None:
                raise _DoneError
            self._left, self._watch = request["steps"], Stopwatch()

    def epoch(self, record: Any, history: Any) -> None:
        """Closing an epoch is part of the round it falls in."""

    def note(self, text: str) -> None:
        """Nothing to say."""


def films(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random films uint8 (count, 200, 200) and labels float32 (count,), 0 and 1 in turn."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIZE, SIZE), np.uint8), np.arange(count).astype(np.float32) % 2


def serve_ours(wire: Wire, steps: int, assignments: list[str]) -> None:
    """Run the engine's own `fit` on films in memory, with everything a step of it does."""
    from pneumoscan.training import engine
    from pneumoscan.training.config import load_config
    from pneumoscan.training.films import TrainingFilms

    if "keep_freed_memory=false" in assignments:
        engine.keep_freed_memory = lambda: False
    settings = [text for text in assignments if not text.startswith("keep_freed_memory")]
    config = engine.resolve(load_config("baseline-plain", None, ["loop.epochs=10000", *settings]))
    images, labels = films(steps * config.loop.batch_size + 2)
    rows = np.arange(len(images))
    given = TrainingFilms(images, labels, rows[:-2], rows[-2:], config.data.preprocessing())
    try:
        engine.fit(config, given, observer=Rounds(wire, warm_up=steps + 5))
    except _DoneError:
        return


def plain_network() -> nn.Sequential:
    """Return the baseline as everybody writes it."""
    layers: list[nn.Module] = []
    for channels in (1, 32, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5408, 128), nn.ReLU(), nn.Linear(128, 1))


def plain_steps(steps: int) -> Callable[[int], None]:
    """Return a function that does so many steps of the loop that every tutorial has."""
    network = plain_network()
    assert sum(parameter.numel() for parameter in network.parameters()) == 720_545
    images, labels = films(steps * BATCH)
    x = torch.from_numpy(images).float().div(255).unsqueeze(1)
    y = torch.from_numpy(labels).unsqueeze(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_of = nn.BCEWithLogitsLoss()

    def work(count: int) -> None:
        order = torch.randperm(len(x))
        for step in range(count):
            rows = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            loss = loss_of(network(x[rows]), y[rows])
            loss.backward()
            optimizer.step()

    return work


def serve_plain(wire: Wire, steps: int) -> None:
    """Serve steps of plain PyTorch in float32, with torch's own number of threads."""
    work = plain_steps(steps)
    work(min(5, steps))
    wire.send(torch=torch.__version__, threads=torch.get_num_threads())
    for request in wire.requests():
        watch = Stopwatch()
        work(request["steps"])
        wire.send(**watch.read())


def matmul_rate(kind: torch.dtype, *, side: int = 2048, repetitions: int = 7) -> float:
    """Return multiply-adds a second (in 10⁹) of a product of square matrices, the median of some."""
    a, b = torch.randn(side, side).to(kind), torch.randn(side, side).to(kind)
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return side**3 / median(times) / 1e9


def serve_peak(wire: Wire) -> None:
    """Serve the machine's peak of matrix products."""
    matmul_rate(torch.bfloat16)
    wire.send(threads=torch.get_num_threads())
    for _ in wire.requests():
        wire.send(bfloat16=matmul_rate(torch.bfloat16), float32=matmul_rate(torch.float32))


def main() -> None:
    """Be the worker that the first argument names."""
    kind, steps, *rest = sys.argv[1:]
    wire = Wire()
    if kind == "ours":
        serve_ours(wire, int(steps), rest)
    elif kind == "plain":
        serve_plain(wire, int(steps))
    else:
        serve_peak(wire)


if __name__ == "__main__":
    main()
