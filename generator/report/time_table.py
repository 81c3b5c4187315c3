"""Where the time of a block went, per method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from generator.record import BlockRecord, RolloutRecord
from generator.report.style import method_title
from generator.report.table import Table

IN_TURN = ("fetch", "denoise", "encode", "recache", "wait")
"""Parts that a block spends one after the other; with `other` they make up the whole block."""

ROWS: Mapping[str, tuple[str, ...]] = {
    "fetch": ("fetch",),
    "denoise": ("denoise",),
    "encode": ("encode",),
    "recache": ("recache",),
    "wait": ("wait",),
    "other": ("other",),
    "whole block": ("total",),
    "append + search (1)": ("append", "search", "advance"),
    "search alone (2)": ("service_search",),
}
"""Row -> the parts that it adds up."""

NOTE = (
    "Milliseconds and share of the block; means over blocks from frame {first} on. (1) Asked of the memory "
    "while recache runs: only `wait` is time that generation lost to it. (2) Inside the service, by its log."
)

STEADY_FROM_FRAME = 24
"""From here on every default context is full; earlier blocks are cheaper."""


def table(records: Sequence[RolloutRecord]) -> Table:
    """Mean milliseconds of each part and its share of the block."""
    means = mean_parts(records)
    rows = [
        (
            label,
            *(_cell(sum(mean.get(part, 0.0) for part in parts), mean["total"]) for mean in means.values()),
        )
        for label, parts in ROWS.items()
    ]
    return Table(
        title="Where the time of a block went",
        header=("part", *map(method_title, means)),
        rows=rows,
        note=NOTE.format(first=STEADY_FROM_FRAME),
    )


def mean_parts(records: Iterable[RolloutRecord]) -> dict[str, dict[str, float]]:
    """Method -> part -> mean milliseconds over the steady blocks of its videos, `other` and `total` too."""
    blocks: dict[str, list[BlockRecord]] = defaultdict(list)
    for record in records:
        blocks[record.method] += _steady(record.blocks)
    return {method: _mean(found) for method, found in blocks.items()}


def _steady(blocks: Sequence[BlockRecord]) -> list[BlockRecord]:
    return [block for block in blocks if block.start >= STEADY_FROM_FRAME] or list(blocks)


def _mean(blocks: Sequence[BlockRecord]) -> dict[str, float]:
    parts = {part for block in blocks for part in block.parts_ms}
    means = {part: float(np.mean([block.parts_ms.get(part, 0.0) for block in blocks])) for part in parts}
    means["other"] = means["total"] - sum(means.get(part, 0.0) for part in IN_TURN)
    return means


def _cell(milliseconds: float, total: float) -> str:
    return f"{milliseconds:.2f}  {100 * milliseconds / total:5.1f} %"
