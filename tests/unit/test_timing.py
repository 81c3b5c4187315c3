"""Parts of a block on the host's clock."""

from __future__ import annotations

import time

import pytest
import torch

from generator.timing import Stopwatch


def test_parts_add_up_to_what_lies_within_them() -> None:
    clock = Stopwatch(torch.device("cpu"))
    with clock("fetch"):
        time.sleep(0.02)
    time.sleep(0.02)
    with clock("denoise"):
        time.sleep(0.03)
    timings = clock.stop({"advance": 0.25})
    assert timings.fetch >= 20
    assert timings.denoise >= 30
    assert timings.total >= timings.fetch + timings.denoise + 20
    assert timings.advance == pytest.approx(250)
    assert timings.recache == timings.wait == 0
