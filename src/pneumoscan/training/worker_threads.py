"""Gradients fast on a CPU: micro-batches that stay in cache, on worker threads that do not wait for each other.

A batch of 32 films at 200×200 makes 330 MB of activations in float32; they go out to memory and come back several times.
Sixteen films at a time in bfloat16 stay near the core, and the sum of the micro-batches' gradients is the batch's. Each
worker thread has a view of the same weights and gradients of its own, and works on whole micro-batches alone: the
cores meet once a step rather than once an operation. The threads' gradients are added in the order of the threads, so the
result depends on their number but never on which was faster.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import nn

from pneumoscan.models.layers import seed_dropout
from pneumoscan.system import cpu_info
from pneumoscan.training.films import Indices

# (rows of a micro-batch, network) → (summed loss to differentiate, logits)
LossOfRows = Callable[[Indices, nn.Module], tuple[torch.Tensor, torch.Tensor]]


class WorkerThreads:
    """A network and the threads that compute its gradients.

    Args:
        network: Whose weights all threads read and whose `.grad` is filled.
        count: Number of threads; on a GPU 1.
        precision: `float32` or `bfloat16`.
    """

    def __init__(self, network: nn.Module, *, count: int, precision: str) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        self.autocast = precision == "bfloat16"
        self.replicas = [network] + [_view_of(network) for _ in range(count - 1)]
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, "training", initializer=lambda: torch.set_num_threads(1))

    def __enter__(self) -> Self:
        if self.count > 1:
            # Else OpenMP's idle worker of this thread spins, and takes a core from the others.
            torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def gradients(
        self, batches: Sequence[tuple[int, Indices]], loss_of_rows: LossOfRows
    ) -> list[torch.Tensor]:
        """Fill the network's `.grad` with the sum over micro-batches.

        Args:
            batches: (seed for dropout, rows) of each micro-batch; the k-th goes to thread k modulo their number.
            loss_of_rows: Forward pass and summed loss; called in a worker thread.

        Returns:
            The logits of each micro-batch, detached, float32, in order.
        """

        def work(thread: int) -> list[torch.Tensor]:
            replica = self.replicas[thread].train()
            replica.zero_grad(set_to_none=True)
            return [
                self._backward(replica, seed, rows, loss_of_rows)
                for seed, rows in batches[thread :: self.count]
            ]

        logits = self._merged(list(self._pool.map(work, range(self.count))), len(batches))
        for parameter, *others in zip(
            *(list(replica.parameters()) for replica in self.replicas), strict=True
        ):
            for other in others:
                if other.grad is not None and parameter.grad is not None:
                    parameter.grad += other.grad
        return logits

    def logits(
        self, batches: Sequence[Indices], inputs_of_rows: Callable[[Indices], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return the logits (float32, on the CPU) of each piece of films, without gradients or dropout."""

        def work(thread: int) -> list[torch.Tensor]:
            replica = self.replicas[thread].eval()
            with torch.no_grad(), self.computing():
                return [
                    replica(self.to_device(inputs_of_rows(rows))).float().cpu()
                    for rows in batches[thread :: self.count]
                ]

        return self._merged(list(self._pool.map(work, range(self.count))), len(batches))

    @property
    def count(self) -> int:
        """Number of threads."""
        return len(self.replicas)

    def computing(self) -> torch.autocast:
        """Return the context in which the network computes in the threads' precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        """Move inputs to where the network is, channels last."""
        return inputs.to(self.device, memory_format=torch.channels_last)

    def _backward(
        self, replica: nn.Module, seed: int, rows: Indices, loss_of_rows: LossOfRows
    ) -> torch.Tensor:
        seed_dropout(replica, seed)
        with self.computing():
            loss, logits = loss_of_rows(rows, replica)
        loss.backward()  # type: ignore[no-untyped-call]
        return logits.detach().float().cpu()

    def _merged(self, by_thread: list[list[torch.Tensor]], total: int) -> list[torch.Tensor]:
        return [by_thread[k % self.count][k // self.count] for k in range(total)]


def _view_of(network: nn.Module) -> nn.Module:
    """Return a copy that shares the weights' memory but has gradients and dropout generators of its own."""
    replica = copy.deepcopy(network)
    for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    for own_buffer, buffer in zip(replica.buffers(), network.buffers(), strict=True):
        own_buffer.data = buffer.data
    return replica


def has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether the processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX; on a GPU, what torch says; on Apple's, no)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = cpu_info()
    return "avx512_bf16" in flags or "amx_bf16" in flags
