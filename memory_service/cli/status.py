"""Commands about the memory as a whole: what serves, and how full and busy it is."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from memory_service.cli.asking import asking, asks
from memory_service.cli.command import Command
from memory_service.cli.output import Answer, Row, table
from memory_service.cli.pools import pool_row
from memory_service.cli.quantities import human_bytes, seconds
from memory_service.memory import Memory
from memory_service.types import PoolInfo, ServerInfo

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def _info(memory: Memory, options: argparse.Namespace) -> Answer:  # noqa: ARG001
    return asdict(memory.info())


def _status(memory: Memory, options: argparse.Namespace) -> Answer:
    if options.json and not options.once:
        return _rounds(memory, options.interval)
    if options.json:
        return _status_row(memory)
    live = not options.once
    while True:
        screen = _screen(memory.info(), memory.list_pools())
        print(f"{_HOME_AND_CLEAR}{screen}" if live and sys.stdout.isatty() else screen, flush=True)
        if not live:
            return None
        time.sleep(options.interval)


def _rounds(memory: Memory, interval_s: float) -> Iterator[Row]:
    while True:
        yield _status_row(memory)
        time.sleep(interval_s)


def _status_row(memory: Memory) -> Row:
    return {**asdict(memory.info()), "pools": list(map(pool_row, memory.list_pools()))}


def _screen(info: ServerInfo, pools: Sequence[PoolInfo]) -> str:
    head = (
        f"reverie-memory {info.version}  index {info.index}  durability {info.durability}  "
        f"up {_duration(info.uptime_s)}"
    )
    totals = [
        {
            "": name,
            "used": shown(used),
            "allowed": shown(allowed) if allowed else "-",
            "share": f"{100 * used / allowed:.1f} %" if allowed else "-",
        }
        for name, used, allowed, shown in (
            ("reels", info.num_bytes, info.max_bytes, human_bytes),
            ("indexes", info.index_bytes, info.max_index_bytes, human_bytes),
            ("videos", info.num_videos, info.max_videos, str),
            ("hot videos", info.hot_videos, 0, str),
        )
    ]
    return f"{head}\n\n{table(totals)}\n\n{table(list(map(_pool_cells, pools)))}"


def _pool_cells(found: PoolInfo) -> Row:
    spec, usage = found.spec, found.usage
    return {
        "pool": found.pool,
        "videos": f"{usage.num_videos}/{spec.max_videos}" if spec.max_videos else usage.num_videos,
        "hot": usage.hot_videos,
        "bytes": human_bytes(usage.num_bytes),
        "allowed": human_bytes(spec.max_bytes) if spec.max_bytes else "-",
        "share": f"{100 * usage.num_bytes / spec.max_bytes:.1f} %" if spec.max_bytes else "-",
        "index": human_bytes(usage.index_bytes),
        "ttl": _duration(spec.ttl_ms / 1000) if spec.ttl_ms else "-",
    }


def _duration(duration_s: float) -> str:
    """Two units at most, e.g. "3 h 12 min"."""
    minutes, rest_s = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest_s, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2])


def _once_and_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print once and exit")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="S", help="between rounds (default: %(default)s s)"
    )


COMMANDS = (
    Command(
        name="info",
        help="version, index, limits and use of the memory",
        example="reverie-memory info --memory unix:/run/reverie/memory.sock",
        arguments=asking(),
        run=asks(_info),
    ),
    Command(
        name="status",
        help="a live table of how full the memory and its pools are",
        example="reverie-memory status --once",
        arguments=asking(_once_and_interval),
        run=asks(_status),
    ),
)
