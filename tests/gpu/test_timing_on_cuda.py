"""Parts of a block on the clock of a CUDA device."""

from __future__ import annotations

import time

import pytest
import torch

from generator.timing import Stopwatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_part_has_what_it_queued_and_the_host_does_not_wait_for_it() -> None:
    a = torch.randn(8192, 8192, device="cuda")
    torch.mm(a, a)
    torch.cuda.synchronize()
    clock = Stopwatch(a.device)
    started = time.perf_counter()
    with clock("denoise"):
        for _ in range(20):
            a = torch.mm(a, a) / 8192
    queued_ms = 1000 * (time.perf_counter() - started)
    with clock("recache"):
        a = torch.mm(a, a)
    with clock("wait"):
        time.sleep(0.001)
    timings = clock.stop({"advance": 0.5})
    assert timings.denoise > 10 * timings.recache > 0
    assert queued_ms < timings.denoise / 2
    assert timings.advance == 500
    # The host slept while the device was still busy: nothing was lost.
    assert timings.wait < 1
    parts = timings.denoise + timings.recache + timings.wait
    assert timings.total == pytest.approx(parts, rel=0.1)


def test_waiting_counts_from_where_the_device_is_done() -> None:
    a = torch.randn(64, 64, device="cuda")
    clock = Stopwatch(a.device)
    with clock("recache"):
        torch.mm(a, a)
    with clock("wait"):
        time.sleep(0.05)
    assert clock.stop({}).wait == pytest.approx(50, abs=10)
