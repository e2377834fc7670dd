"""Worker of training_speed: `ours [key=value …]`, `plain`, or `peak`. It runs the requested steps and returns their time."""

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
    """There are no more requests."""


class Rounds:
    """Observer of a real training that runs the requested number of steps and returns their time."""

    def __init__(self, wire: Wire, warm_up: int) -> None:
        self._wire, self._requests = wire, wire.requests()
        self._left, self._warm, self._watch = warm_up, False, Stopwatch()

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:  # noqa: ARG002
        """Count the step; at the end of a round, answer and wait for the next request."""
        self._left -= 1
        if self._left == 0:
            self._wire.send(**(self._watch.read() if self._warm else {"torch": torch.__version__}))
            self._warm = True
            request = next(self._requests, None)
            if request is None:
                raise _DoneError
            self._left, self._watch = request["steps"], Stopwatch()

    def epoch(self, record: Any, history: Any) -> None:
        """Do nothing: the end of an epoch is part of its round."""

    def note(self, text: str) -> None:
        """Do nothing."""


def films(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random films uint8 (count, 200, 200) and labels float32 (count,), 0 and 1 in turn."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIZE, SIZE), np.uint8), np.arange(count).astype(np.float32) % 2


def serve_ours(wire: Wire, steps: int, assignments: list[str]) -> None:
    """Run the `fit` of the engine on films in memory."""
    from pneumoscan.train import loop
    from pneumoscan.train.backend import resolve
    from pneumoscan.train.config import load_config
    from pneumoscan.train.films import TrainingFilms

    if "keep_freed_memory=false" in assignments:
        loop.keep_freed_memory = lambda: False
    settings = [text for text in assignments if not text.startswith("keep_freed_memory")]
    config = resolve(load_config("baseline-plain", None, ["loop.epochs=10000", *settings]))
    images, labels = films(steps * config.loop.batch_size + 2)
    rows = np.arange(len(images))
    given = TrainingFilms(images, labels, rows[:-2], rows[-2:], config.data.preprocessing())
    try:
        loop.fit(config, given, observer=Rounds(wire, warm_up=steps + 5))
    except _DoneError:
        return


def plain_network() -> nn.Sequential:
    """Return the baseline in plain PyTorch."""
    layers: list[nn.Module] = []
    for channels in (1, 32, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5408, 128), nn.ReLU(), nn.Linear(128, 1))


def plain_steps(steps: int) -> Callable[[int], None]:
    """Return a function that runs steps of the usual loop of tutorials."""
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
    """Run steps of plain PyTorch in float32 with torch's default threads, on request."""
    work = plain_steps(steps)
    work(min(5, steps))
    wire.send(torch=torch.__version__, threads=torch.get_num_threads())
    for request in wire.requests():
        watch = Stopwatch()
        work(request["steps"])
        wire.send(**watch.read())


def matmul_rate(kind: torch.dtype, *, side: int = 2048, repetitions: int = 7) -> float:
    """Return the median of multiply-adds per second (in 10⁹) of products of square matrices."""
    a, b = torch.randn(side, side).to(kind), torch.randn(side, side).to(kind)
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return side**3 / median(times) / 1e9


def serve_peak(wire: Wire) -> None:
    """Measure the matrix-product peak of the machine, on request."""
    matmul_rate(torch.bfloat16)
    wire.send(threads=torch.get_num_threads())
    for _ in wire.requests():
        wire.send(bfloat16=matmul_rate(torch.bfloat16), float32=matmul_rate(torch.float32))


def main() -> None:
    """Run the worker in the first argument."""
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
