"""How long each part of a block took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

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
    """Collects the parts of one block on the clock of the device; the host waits for it in `stop` only.

    A part begins on a GPU when what was queued before is done, and ends with the last of what it queued or
    with the host's last step, whichever is later: `wait` is what the memory takes longer than the clean pass.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = time.perf_counter()
        self._marks: dict[str, tuple[Mark, Mark]] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = self._mark()
        yield
        self._marks[part] = started, self._mark()

    def stop(self, background_seconds: Mapping[str, float]) -> Timings:
        """All parts, with those that were measured in the background."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        total = {"total": time.perf_counter() - self._started}
        own = {part: _seconds_between(*marks) for part, marks in self._marks.items()}
        parts = own | dict(background_seconds) | total
        return Timings(**{part: 1000 * seconds for part, seconds in parts.items()})

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


Mark: TypeAlias = "float | torch.cuda.Event"
"""A moment: seconds of the host's clock, or an event of the device's."""


def _seconds_between(first: Mark, last: Mark) -> float:
    if isinstance(first, torch.cuda.Event):
        return first.elapsed_time(last) / 1000
    return last - first
