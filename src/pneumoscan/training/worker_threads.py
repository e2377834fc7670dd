"""Fast gradients on a CPU: micro-batches that fit into the cache, on independent worker threads.

A batch of 32 films at 200×200 has 330 MB of activations in float32, which are written to memory and read back several times.
Sixteen films in bfloat16 stay in the cache, and the sum of the gradients of the micro-batches is that of the batch. Each
worker thread shares the weights, has its own gradients, and processes whole micro-batches. The cores therefore synchronise
once per step and not once per operation. The gradients are added in the order of the threads, so the result depends on their
number but not on their speed.
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
        network: The network; all threads read its weights, and its `.grad` is set.
        count: Number of threads; 1 on a GPU.
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
            # Otherwise an idle OpenMP worker of this thread spins and takes a core from the others.
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
        """Set the `.grad` of the network to the sum over micro-batches.

        Args:
            batches: (seed of dropout, rows) of each micro-batch; thread k modulo their number processes the k-th.
            loss_of_rows: Forward pass and summed loss, called in a worker thread.

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
        """Return the context in which the network computes with the chosen precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        """Move inputs to the device of the network, with channels last."""
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
    """Return a copy that shares the memory of the weights but has its own gradients and dropout generators."""
    replica = copy.deepcopy(network)
    for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    for own_buffer, buffer in zip(replica.buffers(), network.buffers(), strict=True):
        own_buffer.data = buffer.data
    return replica


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the processor has bfloat16 in hardware (AVX-512 BF16 or AMX; a GPU if torch says so; not Apple's)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = cpu_info()
    return "avx512_bf16" in flags or "amx_bf16" in flags
