"""What this machine can do at most, measured: nobody's data sheet is the machine that a run had."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
"""Large enough that the device's matrix product is at its best."""

ROUND_S = 0.1
"""How long a ceiling is looked for each time."""


@dataclass(frozen=True)
class Ceilings:
    """Best rates seen so far."""

    flops: float = 0.0
    """Of a large matrix product in the model's dtype, operations per second."""

    bytes: float = 0.0
    """Read and written per second by a copy whose two ends are as large as the model's weights."""

    def best(self, other: Ceilings) -> Ceilings:
        return Ceilings(max(self.flops, other.flops), max(self.bytes, other.bytes))

    def floor_s(self, flops: float, num_bytes: float) -> float:
        """Seconds below which nothing that computes and moves so much can come."""
        return max(flops / self.flops, num_bytes / self.bytes)


@torch.inference_mode()
def measure(device: torch.device, dtype: torch.dtype, working_set: int) -> Ceilings:
    """Both ceilings now; on shared machines the best of several moments counts."""
    side = MATRIX_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.randn(max(1, working_set // 8), device=device)
    target = torch.empty_like(source)
    return Ceilings(
        flops=2 * side**3 / _fastest(lambda: torch.mm(a, b, out=product), device),
        bytes=2 * source.nbytes / _fastest(lambda: target.copy_(source), device),
    )


def _fastest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of several runs, after one that warms up."""
    best, began = float("inf"), time.perf_counter()
    run()
    while time.perf_counter() - began < ROUND_S or best == float("inf"):
        _finish(device)
        started = time.perf_counter()
        run()
        _finish(device)
        best = min(best, time.perf_counter() - started)
    return best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
