"""How long passes took on the device, without waiting for them."""

from __future__ import annotations

import time
from types import TracebackType

import torch


class PassClock:
    """Sums the time of everything inside `with`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._ms = 0.0

    def __enter__(self) -> None:
        self._begun = time.perf_counter()
        if self._device.type == "cuda":
            self._first = self._mark()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self._pairs.append((self._first, self._mark()))
        else:
            self._ms += 1000 * (time.perf_counter() - self._begun)

    def taken_ms(self) -> float:
        """Of what is finished since the last call; what still runs counts next time."""
        done = [pair for pair in self._pairs if pair[1].query()]
        self._pairs = [pair for pair in self._pairs if pair not in done]
        total = self._ms + sum(first.elapsed_time(last) for first, last in done)
        self._ms = 0.0
        return total

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
