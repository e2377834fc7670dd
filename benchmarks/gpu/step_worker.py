"""Worker of `benchmarks.gpu.run`: `plain DEVICE BATCH`, `compiled DEVICE BATCH`, `peak DEVICE SIDE` or `collective DEVICE`."""

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.speed.step_worker import films, matmul_rate, plain_network
from benchmarks.timing import Stopwatch
from benchmarks.workers import Wire

FILMS = 640
PARAMETERS = 720_545


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def amp_steps(device: torch.device, batch: int, *, compiled: bool) -> Callable[[int], None]:
    """Return a function that does training steps of plain PyTorch: bfloat16 by AMP, channels last, fused Adam.

    The films are uint8 in the memory of the CPU, pinned for a GPU, and each batch is copied to the device.
    """
    network: nn.Module = plain_network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(network) if compiled else network
    images, labels = (torch.from_numpy(array) for array in films(max(FILMS, 2 * batch)))
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    loss_of = nn.BCEWithLogitsLoss()

    def work(count: int) -> None:
        for step in range(count):
            start = step * batch % (len(images) // batch * batch)
            rows = slice(start, start + batch)
            x = images[rows].to(device, non_blocking=True).unsqueeze(1).float().div_(255)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                logits = forward(x.to(memory_format=torch.channels_last))
            loss_of(logits.squeeze(1).float(), labels[rows].to(device, non_blocking=True)).backward()
            optimizer.step()
        wait_for(device)

    return work


def serve_steps(wire: Wire, device: torch.device, batch: int, *, compiled: bool) -> None:
    """Serve steps of plain PyTorch; compiling is part of the warm-up."""
    work = amp_steps(device, batch, compiled=compiled)
    work(5)
    wire.send(torch=torch.__version__)
    for request in wire.requests():
        watch = Stopwatch()
        work(request["steps"])
        wire.send(**watch.read())


def product_rate(device: torch.device, side: int, repetitions: int = 10) -> float:
    """Return the multiply-adds per second (in 10⁹) of a product of square bfloat16 matrices on a device."""
    if device.type != "cuda":
        return matmul_rate(torch.bfloat16, side=side, repetitions=repetitions)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(repetitions):
        wait_for(device)
        started = time.perf_counter()
        torch.mm(a, b)
        wait_for(device)
        times.append(time.perf_counter() - started)
    return side**3 / median(times) / 1e9


def serve_peak(wire: Wire, device: torch.device, side: int) -> None:
    """Serve the peak of matrix products in bfloat16."""
    product_rate(device, side)
    wire.send(side=side)
    for _ in wire.requests():
        wire.send(bfloat16=product_rate(device, side))


def collective(kind: str, repetitions: int = 20) -> dict[str, Any] | None:
    """Sum one buffer of the size of the baseline's gradient over all processes, as a training step does.

    Returns:
        Processes, backend, whether every sum was right, and the median milliseconds; None for all but the first process.
    """
    rank, backend = int(os.environ["RANK"]), "nccl" if kind == "cuda" else "gloo"
    device = torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend)
    size, times, right = dist.get_world_size(), [], True
    for _ in range(repetitions):
        gradient = torch.full((PARAMETERS,), float(rank + 1), device=device)
        wait_for(device)
        started = time.perf_counter()
        dist.all_reduce(gradient)
        wait_for(device)
        times.append(time.perf_counter() - started)
        right = right and bool((gradient == size * (size + 1) / 2).all())
    dist.destroy_process_group()
    facts = {"processes": size, "backend": backend, "right": right, "milliseconds": 1e3 * median(times)}
    return facts if rank == 0 else None


def main() -> None:
    """Be the worker that the first argument names."""
    kind, device, *rest = sys.argv[1:]
    if kind == "collective":
        facts = collective(device)
        if facts:
            print(json.dumps(facts))
    elif kind == "peak":
        serve_peak(Wire(), torch.device(device), int(rest[0]))
    else:
        serve_steps(Wire(), torch.device(device), int(rest[0]), compiled=kind == "compiled")


if __name__ == "__main__":
    main()
