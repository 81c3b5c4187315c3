"""What a fresh page costs before and after free memory was made ready: why `ballast` exists."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.ballast import Ballast, free_memory, reported_bytes
from benchmarks.workload import BLOCK_FRAMES, LATENT_BYTES

_APPENDS = 2000
_BUFFERS = 600
_BUFFER_BYTES = 2 << 20

_REPORTED_S = 5.0
"""Longer than a kernel waits before it reports a free block: 2 s."""


def measure(folder: Path, ballast: Ballast) -> str:
    """A table in Markdown: appends of one block to a new file, and buffers that nobody used before."""
    block = reported_bytes() or _BUFFER_BYTES
    lines = [
        "| free memory | free / in whole blocks, GB | append of 600 KB, p50 / mean / p99 ms of CPU | "
        "2 MiB of fresh memory, the same |",
        "| --- | --: | --: | --: |",
    ]
    for name in ("as it is", "filled"):
        if name == "filled":
            ballast.ready(name)
        time.sleep(_REPORTED_S)
        free = free_memory(block)
        sizes = f"{free.free_bytes / 1e9:.1f} / {free.whole_bytes / 1e9:.1f}"
        lines.append(f"| {name} | {sizes} | {_appends(folder)} | {_buffers()} |")
    return "\n".join(lines)


def _appends(folder: Path) -> str:
    payload = os.urandom(LATENT_BYTES) * BLOCK_FRAMES
    path = folder / "appended"
    with path.open("xb", buffering=0) as file:
        figures = _timed(_APPENDS, lambda: file.write(payload))
    path.unlink()
    return figures


def _buffers() -> str:
    kept: list[np.ndarray] = []
    return _timed(_BUFFERS, lambda: kept.append(np.ones(_BUFFER_BYTES, np.uint8)))


def _timed(count: int, call: Callable[[], object]) -> str:
    """CPU time, which the host's faults are part of and waiting for a neighbour is not."""
    milliseconds = []
    for _ in range(count):
        began = time.thread_time()
        call()
        milliseconds.append(1e3 * (time.thread_time() - began))
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return f"{p50:.2f} / {np.mean(milliseconds):.2f} / {p99:.2f}"
