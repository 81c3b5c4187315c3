"""How much memory a stretch of code takes at its most."""

from __future__ import annotations

import gc
from pathlib import Path
from types import TracebackType

import torch

RESET_PEAK = "5"
"""What /proc/self/clear_refs takes to start the peak of resident memory anew."""


class Peak:
    """`bytes` within a `with`: of a GPU all that torch had, weights too; of a process what it took on top."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = 0

    def __enter__(self) -> Peak:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            Path("/proc/self/clear_refs").write_text(RESET_PEAK)
            self._before = _status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            self.bytes = _status("VmHWM") - self._before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
