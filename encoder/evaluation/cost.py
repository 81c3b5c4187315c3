"""What embedding costs, against what this machine could do at best: the floor.

The floor of a block is the greater of arithmetic at the rate of a large float32 matrix product and of traffic
at the rate of a large copy. Rates and times are of one thread in the same run, so that neither depends on who
else uses the machine's cores. Arithmetic: 2 per multiply-add, counted by torch. Traffic: latents in, weights
once, embeddings out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from encoder.model import Encoder, LatentAE

MATRIX = 768
COPY_BYTES = 64 * 2**20
REPEATS = 12


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Best rates seen: float operations and bytes (read and written) per second."""

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What embedding one frame takes, as part of a block."""

    flops: float
    bytes: float

    def floor_s(self, machine: Machine) -> float:
        return max(self.flops / machine.flops_per_s, self.bytes / machine.bytes_per_s)

    def bound(self, machine: Machine) -> str:
        """Which of the two makes the floor."""
        arithmetic = self.flops / machine.flops_per_s >= self.bytes / machine.bytes_per_s
        return "arithmetic" if arithmetic else "memory"


def measure_machine() -> Machine:
    """Rates of this machine now; about a second."""
    one, other = torch.rand(2, MATRIX, MATRIX)
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    with _one_thread():
        return Machine(
            flops_per_s=2 * MATRIX**3 / min(_times(lambda: one @ other, REPEATS)),
            bytes_per_s=2 * COPY_BYTES / min(_times(lambda: target.copy_(source), REPEATS)),
        )


def work(encoder: Encoder, block_FCHW: Tensor) -> Work:
    """Operations and bytes per frame of a block."""
    with FlopCounterMode(display=False) as counter:
        embeddings = encoder.encode(block_FCHW)
    weights = list(encoder.encoder.parameters()) if isinstance(encoder, LatentAE) else []
    moved = sum(tensor.numel() * tensor.element_size() for tensor in (block_FCHW, embeddings, *weights))
    return Work(
        flops=counter.get_total_flops() / len(block_FCHW),
        bytes=moved / len(block_FCHW),
    )


def seconds_per_frame(encoder: Encoder, blocks: Sequence[Tensor]) -> float:
    """Median over the blocks of a video, each embedded alone, as a rollout does."""
    with _one_thread():
        encoder.encode(blocks[0])
        times = [_times(lambda block=block: encoder.encode(block), 1)[0] / len(block) for block in blocks]
    return float(np.median(times))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _times(do: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - started)
    return seconds
