"""The command that follows what happens in a pool."""

import argparse
from collections.abc import Iterator

from memory_service.cli.asking import asking, asks
from memory_service.cli.command import Command
from memory_service.cli.output import Answer, Row, time_of
from memory_service.memory import Memory
from memory_service.types import Event


def _watch(memory: Memory, options: argparse.Namespace) -> Answer:
    pool, _, video = options.where.partition("/")
    return _rows(memory, pool, video, options.count)


def _rows(memory: Memory, pool: str, video: str, count: int | None) -> Iterator[Row]:
    left = count
    for event in memory.watch(pool, video):
        yield _row(event)
        if left is not None:
            left -= 1
            if left <= 0:
                return


def _row(event: Event) -> Row:
    row: dict[str, object] = {"time": time_of(event.unix_ms), "event": str(event.kind)}
    if event.key is not None:
        row["video"] = str(event.key)
    if event.state is not None:
        row |= {"length": event.state.length, "durable": event.state.durable, "epoch": event.state.epoch}
    if event.retrieval is not None:
        row |= {
            "frames": list(event.retrieval.frames),
            "scores": [round(score, 4) for score in event.retrieval.scores],
            "search_us": event.retrieval.search_us,
        }
    if event.lost:
        row["lost"] = event.lost
    return row


def _where_and_count(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", metavar="POOL[/VIDEO]")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many events")


COMMANDS = (
    Command(
        name="watch",
        help="what happens in a pool or to a video, from now on, one line each, until interrupted",
        example="reverie-memory watch films --json",
        arguments=asking(_where_and_count),
        run=asks(_watch),
    ),
)
