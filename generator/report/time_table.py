"""Where the time of a block went, per method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from generator.records.record import BlockRecord, RolloutRecord
from generator.report.style import method_title
from generator.report.table import Table

IN_TURN = ("fetch", "denoise", "encode", "recache", "wait")
"""Parts that a block spends one after the other; with `other` they make up the whole block."""

ROWS: Mapping[str, tuple[str, ...]] = {
    "fetch": ("fetch",),
    "re-create (3)": ("recreate",),
    "denoise": ("denoise",),
    "encode": ("encode",),
    "recache": ("recache",),
    "wait": ("wait",),
    "other": ("other",),
    "whole block": ("total",),
    "append (1)": ("behind_append",),
    "search (2)": ("behind_search",),
}
"""Row -> the parts that it adds up."""

NOTE = (
    "Milliseconds and share of the block; means over blocks from frame {first} on. fetch: keys and values of "
    "the retrieved frames brought into the window. (1), (2) run while recache does: only `wait` is time that "
    "generation lost to them. Both are one call; search is the service's own time by its log, append is the "
    "rest of the call, its way there and back included. (3) is part of fetch: keys and values that no tier "
    "held any more."
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
    made = [block for block in blocks if not block.replayed] or blocks
    return [block for block in made if block.start >= STEADY_FROM_FRAME] or list(made)


def _mean(blocks: Sequence[BlockRecord]) -> dict[str, float]:
    parts = {part for block in blocks for part in block.parts_ms}
    means = {part: float(np.mean([block.parts_ms.get(part, 0.0) for block in blocks])) for part in parts}
    means["other"] = means["total"] - sum(means.get(part, 0.0) for part in IN_TURN)
    asked = sum(means.get(part, 0.0) for part in ("append", "search", "advance"))
    means["behind_search"] = means.get("service_search", 0.0)
    means["behind_append"] = asked - means["behind_search"]
    return means


def _cell(milliseconds: float, total: float) -> str:
    return f"{milliseconds:.2f}  {100 * milliseconds / total:5.1f} %"
