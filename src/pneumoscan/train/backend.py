"""Where a training computes: processes (ranks), worker threads, device and precision; and how it is interrupted.

Ranks. Started by `torchrun`, connected by torch.distributed. Every process holds the whole network and all films, processes
its share of the micro-batches of each batch, and sums the gradients with the others by one all-reduce per step.
DistributedDataParallel does the same, but a sum over one flat buffer also works if a short last batch leaves a process without
films, and it includes the loss and the "stop" flags.

Threads. A batch of 32 films at 200×200 has 330 MB of activations in float32, which are written to memory and read back several
times. Sixteen films in bfloat16 stay in the cache, and the sum of the gradients of the micro-batches is that of the batch. Each
worker thread shares the weights, has its own gradients, and processes whole micro-batches. The cores therefore synchronise once
per step and not once per operation. The gradients are added in the order of the threads, so the result depends on their number
but not on their speed.
"""

import copy
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from pneumoscan.errors import ConfigError, Terminated
from pneumoscan.networks.layers import seed_dropout
from pneumoscan.system import cpu_info, usable_cores
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.films import Indices

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """The group of processes: this one has the `rank` in 0..`size`-1; rank 0 writes files."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange; all must have the same dtype and device."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, parts, strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """Return the bytes of rank 0 in every process."""
        if self.size == 1:
            return data or b""
        length = torch.tensor([len(data or b"")])
        dist.broadcast(length, 0)
        buffer = torch.empty(int(length), dtype=torch.uint8)
        if self.first and data:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined_peers() -> Iterator[Peers]:
    """Connect the processes that torchrun started; without torchrun, this process is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Peers()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Peers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class Backend:
    """A network on its device, with the threads that compute its gradients and the processes that share the work.

    Args:
        network: The network, on its device; all threads read its weights, and its `.grad` is set.
        threads: Number of threads; 1 on a GPU.
        precision: `float32` or `bfloat16`.
        peers: The processes of the run.
    """

    def __init__(
        self, network: nn.Module, *, threads: int, precision: str, peers: Peers | None = None
    ) -> None:
        self.network, self.peers = network, peers or Peers()
        self.device = next(network.parameters()).device
        self._bfloat16 = precision == "bfloat16"
        self._replicas = [network] + [_view_of(network) for _ in range(threads - 1)]
        self._threads_before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads, "training", initializer=lambda: torch.set_num_threads(1))

    def __enter__(self) -> Self:
        if len(self._replicas) > 1:
            # Otherwise an idle OpenMP worker of this thread spins and takes a core from the others.
            torch.set_num_threads(1)
        # The garbage collector stops all threads while it searches the imported modules, which never become garbage.
        gc.freeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads_before)

    def precision(self) -> torch.autocast:
        """Return the context in which the network computes with the chosen precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)

    def to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        """Move inputs to the device of the network, with channels last."""
        return inputs.to(self.device, memory_format=torch.channels_last)

    def each_piece(
        self, pieces: Sequence[Indices], work: Callable[[Indices, nn.Module], T], *, seed: tuple[int, int]
    ) -> list[T]:
        """Let the worker threads learn from this process's share of the micro-batches of a batch.

        Afterwards the `.grad` of the network is the sum of what `work` left in the `.grad` of the replicas.

        Args:
            pieces: Rows of each micro-batch of the whole batch.
            work: Called in a worker thread with the rows of a micro-batch and a network in training mode; it runs `backward`.
            seed: Seed and step of the run; with the place of a micro-batch in its batch they seed its dropout.

        Returns:
            The results of `work`, in the order of the micro-batches.
        """
        mine = list(enumerate(pieces))[self.peers.rank :: self.peers.size]

        def share_of(replica: nn.Module, share: Sequence[tuple[int, Indices]]) -> list[T]:
            replica.train().zero_grad(set_to_none=True)
            results = []
            for place, rows in share:
                state = np.random.SeedSequence([*seed, place]).generate_state(1, np.uint64)
                seed_dropout(replica, int(state[0] >> 2))
                results.append(work(rows, replica))
            return results

        results = self._in_threads(mine, share_of)
        for parameter, *others in zip(
            *(list(replica.parameters()) for replica in self._replicas), strict=True
        ):
            for other in others:
                if other.grad is not None and parameter.grad is not None:
                    parameter.grad += other.grad
        return results

    def sum_over_ranks(self, facts: Sequence[float]) -> list[float]:
        """Sum the gradients of the network and some numbers over all processes; returns the numbers."""
        summed = torch.tensor(facts, device=self.device)
        gradients = []
        for parameter in self.network.parameters():
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.peers.sum_([*gradients, summed])
        found: list[float] = summed.tolist()
        return found

    def outputs(
        self, pieces: Sequence[Indices], inputs_of_rows: Callable[[Indices], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return the outputs (float32, on the CPU) for each piece of films, without gradients or dropout.

        With several processes each reads its share, and the outputs must be logits (n,).
        """

        def share_of(replica: nn.Module, share: Sequence[Indices]) -> list[torch.Tensor]:
            replica.eval()
            with torch.no_grad(), self.precision():
                return [replica(self.to_device(inputs_of_rows(rows))).float().cpu() for rows in share]

        mine = self._in_threads(pieces[self.peers.rank :: self.peers.size], share_of)
        if self.peers.size == 1:
            return mine
        every = [torch.zeros(len(piece)) for piece in pieces]
        every[self.peers.rank :: self.peers.size] = mine
        self.peers.sum_(every)
        return every

    def _in_threads(
        self, tasks: Sequence[S], share_of: Callable[[nn.Module, Sequence[S]], list[T]]
    ) -> list[T]:
        """Return the results of all tasks in order; thread k of n does tasks k, k + n and so on."""
        count = len(self._replicas)
        shares = [tasks[thread::count] for thread in range(count)]
        by_thread = list(self._pool.map(share_of, self._replicas, shares))
        return [by_thread[k % count][k // count] for k in range(len(tasks))]


def _view_of(network: nn.Module) -> nn.Module:
    """Return a copy that shares the memory of the weights but has its own gradients and dropout generators."""
    replica = copy.deepcopy(network)
    for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    for own_buffer, buffer in zip(replica.buffers(), network.buffers(), strict=True):
        own_buffer.data = buffer.data
    return replica


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration with every `auto` and 0 replaced by its value on this machine.

    Raises:
        ConfigError: The device is `mps`, which this torch does not have.
    """
    loop = config.loop
    device = loop.device if loop.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "this torch has no device mps.",
            "Use loop.device cpu or auto; mps needs a Mac with Apple silicon.",
        )
    precision = loop.precision
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(torch.device(device)) else "float32"
    threads = 1 if device != "cpu" else loop.worker_threads or usable_cores()
    resolved = loop.model_copy(update={"device": device, "precision": precision, "worker_threads": threads})
    return config.model_copy(update={"loop": resolved})


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the processor has bfloat16 in hardware (AVX-512 BF16 or AMX; a GPU if torch says so; not Apple's)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = cpu_info()
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass
class Caught:
    """The signal that arrived, if any."""

    number: int | None = None

    def throw(self) -> None:
        """Raise the exception of the signal; that of SIGINT if another process received the signal."""
        raise Terminated if self.number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Caught]:
    """Store SIGINT and SIGTERM until the end of the step, so that a checkpoint is written; a second signal acts at once."""
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
