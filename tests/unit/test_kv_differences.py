"""The measurement of docs/kv.md, on the golden model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kv.recreation import LEFT_OUT, differences, table
from benchmarks.kv.subjects import golden_subject
from generator.kv.config import LAYOUTS
from generator.wan.kv_shape import KEY, VALUE

GOLDEN = Path(__file__).parents[1] / "golden" / "data"


def test_the_default_layout_changes_least_and_far_less_than_no_retrieval() -> None:
    found = differences(golden_subject(GOLDEN))
    changes = {name: sum(each.blocks) / len(each.blocks) for name, each in found.items()}
    assert changes["block_with_sink"] < changes["with_sink"] < changes["alone"] < changes[LEFT_OUT]
    assert changes["block_with_sink"] < changes[LEFT_OUT] / 5
    for layout in LAYOUTS:
        errors = [[found[layout].of_layer(layer, kind) for layer in range(3)] for kind in (KEY, VALUE)]
        assert [error[0] for error in errors] == pytest.approx([0, 0], abs=1e-6), "layer 0 comes back"
        assert all(0 < error < 1 for of_kind in errors for error in of_kind[1:])
        assert found[layout].frames == 6 * (len(found[layout].blocks) - 2) + 1 + 4
    assert table(found).count("\n") == 2 + 3 + 1, "head, layers, block, time"
