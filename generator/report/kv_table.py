"""Where the keys and values of retrieved frames were found, per method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from generator.kv.traffic import Traffic
from generator.records.record import RolloutRecord
from generator.report.style import method_title
from generator.report.table import Table

NOTE = (
    "Frames and their share of all that were retrieved; bytes that were moved between host and device. In "
    "place: attended by the block before as well. Approximate: re-created, for this block or for one before."
)


def table(records: Sequence[RolloutRecord]) -> Table | None:
    """Sums over the videos of each method that retrieves; None where none does."""
    parts: dict[str, list[Traffic]] = defaultdict(list)
    for record in records:
        parts[record.method].append(record.kv)
    totals = {method: Traffic.total(found) for method, found in parts.items()}
    totals = {method: total for method, total in totals.items() if total.retrieved}
    if not totals:
        return None
    columns = totals.values()
    rows = [
        ("in place", *(_cell(t.in_slots, t) for t in columns)),
        ("on the device", *(_cell(t.from_device, t) for t in columns)),
        ("on the host", *(_cell(t.from_host, t) for t in columns)),
        ("re-created", *(_cell(t.recreated, t) for t in columns)),
        ("approximate", *(_cell(t.approximate, t) for t in columns)),
        ("MB to the device", *(f"{t.to_device_bytes / 1e6:.1f}" for t in columns)),
        ("MB to the host", *(f"{t.to_host_bytes / 1e6:.1f}" for t in columns)),
    ]
    return Table(
        title="Where keys and values were found",
        header=("place", *map(method_title, totals)),
        rows=rows,
        note=NOTE,
    )


def _cell(frames: int, total: Traffic) -> str:
    return f"{frames}  {100 * frames / total.retrieved:5.1f} %"
