"""How long each part of a block took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds of one block, by part.

    The loop spends fetch, denoise, encode, recache and wait one after the other. append, search and advance
    run beside recache, in a thread of their own: only `wait` is time that the loop lost to the memory. A
    fused history reports `advance` (one call for append and search), the other one `append` and `search`.
    """

    fetch: float = 0.0
    """Keys and values of the context: looked up, moved to the device, rotated."""
    denoise: float = 0.0
    encode: float = 0.0
    recache: float = 0.0
    wait: float = 0.0

    append: float = 0.0
    search: float = 0.0
    advance: float = 0.0

    total: float = 0.0
    """From the start of the block until the memory has it and the next block's hits are there."""


class Stopwatch:
    """Collects the parts of one block; waits for the device at the end of each, to charge it there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds[part] = time.perf_counter() - started

    def stop(self, background_seconds: Mapping[str, float]) -> Timings:
        """All parts, with those that were measured in the background."""
        total = {"total": time.perf_counter() - self._started}
        parts = self._seconds | dict(background_seconds) | total
        return Timings(**{part: 1000 * seconds for part, seconds in parts.items()})
