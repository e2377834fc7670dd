"""Training with several processes or machines: started by `torchrun`, connected by torch.distributed.

Every process holds the whole network and all films, processes its share of the micro-batches of each batch, and sums the
gradients with the others by one all-reduce per step. DistributedDataParallel does the same, but a sum over one flat buffer
also works if a short last batch leaves a process without films, and it includes the loss and the "stop" flags.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


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
        for tensor, summed in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
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
