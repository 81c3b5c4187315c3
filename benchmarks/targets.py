"""What the memory is to reach beside its peers, computed from one run. Pure.

Ratios, because absolute figures move with the machine and its load. A target whose rows were not measured is
open, neither met nor missed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.measures import exponent
from benchmarks.peers.base import Durability
from benchmarks.rows import Results, Row, named
from benchmarks.workload import FRAME_BYTES

LOCAL, LOCAL_SYNC = "ours, local", "ours, local, sync"
UNIX, UNIX_SYNC, TCP = "ours, unix inline", "ours, unix inline, sync", "ours, tcp inline"


@dataclass(frozen=True)
class Target:
    """`measured` is not a number where a row is missing; `detail` says of what it is the ratio."""

    text: str
    measured: float
    limit: float
    at_least: bool
    detail: str = ""

    @property
    def verdict(self) -> str:
        if math.isnan(self.measured):
            return "open"
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "met" if met else "**not met**"

    @property
    def bound(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


def targets(results: Results) -> list[Target]:
    """Every target, in a fixed order."""
    return [*_speed(results), *_clients(results), *_growth(results), *_space(results)]


def _speed(results: Results) -> Iterator[Target]:
    p50 = _p50(results)
    local = p50(LOCAL)
    floor = p50("empty RPC, unix") + p50("floor, file")
    yield _at_most(
        "local step / (empty RPC + file floor)", local / floor, 1.3, f"{_ms(local)} / {_ms(floor)}"
    )
    for peer, least in (("gRPC of three RPCs, unix", 4.0), ("Redis", 2.0)):
        yield _at_least(f"{peer} / local step", p50(peer) / local, least, f"{_ms(p50(peer))} / {_ms(local)}")
    yield _nearest_database(results)
    sync, sync_floor = p50(LOCAL_SYNC), p50("floor, fdatasync")
    name = LOCAL_SYNC
    if math.isnan(sync):
        sync, name = p50(UNIX_SYNC), UNIX_SYNC
    yield _at_most(
        f"{name} / floor with fdatasync", sync / sync_floor, 2.5, f"{_ms(sync)} / {_ms(sync_floor)}"
    )
    inline, ours = p50("gRPC of three RPCs, tcp"), p50(TCP)
    yield _at_least(
        "gRPC of three RPCs, tcp / ours, tcp inline", inline / ours, 2.0, f"{_ms(inline)} / {_ms(ours)}"
    )
    row = results.row(LOCAL)
    yield _at_most(
        "CPU of a local step, client + server, ms", 1e3 * row.sample.cpu_per_step if row else math.nan, 1.2
    )
    tail = row.sample.p(99) / row.p50 if row else math.nan
    yield _at_most("p99 / p50 of a local step, one client", tail, 4.0)


def _nearest_database(results: Results) -> Target:
    """The database that comes nearest to ours of equal durability; one that keeps nothing is compared too."""
    table = results.databases
    ours = {
        Durability.MEM.value: named(table, LOCAL),
        Durability.FILE.value: named(table, LOCAL),
        Durability.SYNC.value: named(table, LOCAL_SYNC) or named(table, UNIX_SYNC),
    }
    ratios: dict[float, str] = {}
    for row in table:
        against = ours.get(row.durability)
        if row.is_database and row.measured and against is not None:
            ratios[row.p50 / against.p50] = f"{row.name}, {_ms(row.p50)} / {_ms(against.p50)}"
    least = min(ratios, default=math.nan)
    return _at_least("nearest other database / ours, equal durability", least, 5.0, ratios.get(least, ""))


def _clients(results: Results) -> Iterator[Target]:
    many, one = results.with_clients(LOCAL, 16), results.with_clients(LOCAL, 1)
    p50 = many.p50 if many else math.nan
    yield _at_most("p50 of a local step with 16 clients, ms", 1e3 * p50, 12.0)
    kept, detail = math.nan, ""
    if many and one:
        kept = many.sample.steps_per_second / one.sample.steps_per_second
        detail = f"{many.sample.steps_per_second:.0f} / {one.sample.steps_per_second:.0f} steps/s"
    yield _at_least("steps/s of 16 local clients / of one", kept, 1.0, detail)


def _growth(results: Results) -> Iterator[Target]:
    name = LOCAL if results.grown(LOCAL) else UNIX
    ours, reference = results.grown(name), results.grown("list, stack, bmm, topk")
    for history, least in ((480, 2.0), (4800, 15.0), (48_000, 15.0)):
        ratio, detail = math.nan, ""
        if history in ours and history in reference:
            a, b = reference[history].p50, ours[history].p50
            ratio, detail = a / b, f"{_ms(a)} / {_ms(b)}, {name}"
        yield _at_least(f"list, stack, bmm, topk / ours at {history} frames", ratio, least, detail)
    recalls = [row.sample.recall for row in ours.values()]
    yield _at_least("recall against exact search, at every length", min(recalls, default=math.nan), 1.0)
    for verb, most in (("append", 0.05), ("fetch", 0.05), ("search", 1.0)):
        seconds = {history: row.sample.p(50, verb) for history, row in ours.items()}
        fitted = exponent(seconds) if len(seconds) > 1 else math.nan
        detail = " / ".join(_ms(value) for value in seconds.values())
        yield _at_most(f"growth exponent of {verb}", fitted, most, detail)


def _space(results: Results) -> Iterator[Target]:
    row = results.row(LOCAL) or results.row(UNIX)
    disk = row.disk_bytes_per_frame if row else math.nan
    yield _at_most(
        f"disk per frame / {FRAME_BYTES} B",
        disk / FRAME_BYTES,
        1.05,
        "" if math.isnan(disk) else f"{disk:.0f} B",
    )
    hot = next(
        (r for r in results.clients if r.name in (LOCAL, UNIX) and r.measured and r.hot_bytes_per_frame), None
    )
    memory = hot.hot_bytes_per_frame / 1e3 if hot else math.nan
    yield _at_most(
        "anonymous memory of the server per frame of hot videos, KB", memory, 4.5, hot.name if hot else ""
    )


def _p50(results: Results) -> Callable[[str], float]:
    def p50(name: str) -> float:
        row: Row | None = results.row(name)
        return row.p50 if row else math.nan

    return p50


def _at_most(text: str, measured: float, limit: float, detail: str = "") -> Target:
    return Target(text, measured, limit, False, detail)


def _at_least(text: str, measured: float, limit: float, detail: str = "") -> Target:
    return Target(text, measured, limit, True, detail)


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1e3 * seconds:.2f} ms"
