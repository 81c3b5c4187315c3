"""Pages of a listing: as many rows as asked for and as fit one message, and where the next page begins.

A log that grows while it is read from its newest entry on moves under the reader: the entry that was the
tenth is soon the twelfth. Tokens of that order therefore also say which entry came last.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from memory_service import wire
from memory_service.boundary.validate import check_id
from memory_service.crc32c import crc32c
from memory_service.errors import InvalidArgument
from memory_service.types import Retrieval
from memory_service.v1 import memory_pb2 as pb

MAX_ROWS = 1000
"""Rows of one page, whatever was asked for."""

_READ_AHEAD = 50
"""Log entries read at a time."""

_LOG_TOKEN = re.compile(r"(\d{1,18})(?:-([0-9a-f]{8}))?", re.ASCII)

Row = TypeVar("Row")


def fill(
    rows: Iterable[Row],
    num_bytes: Callable[[Row], int],
    budget_bytes: int,
    max_rows: int = MAX_ROWS,
    *,
    at_least: int = 1,
) -> tuple[list[Row], bool]:
    """The first rows that fit `budget_bytes` together, and whether there are more.

    At most `max_rows`, and `at_least` so many in any case. Reads one row more than it returns.
    """
    page: list[Row] = []
    for row in rows:
        budget_bytes -= num_bytes(row)
        if len(page) >= at_least and (budget_bytes < 0 or len(page) == max_rows):
            return page, True
        page.append(row)
    return page, False


def rows_wanted(page_size: int) -> int:
    """Raises InvalidArgument on a negative size; 0 leaves the choice to the server."""
    if page_size < 0:
        raise InvalidArgument(f"page_size is {page_size}", field="page_size", expected="0 or more")
    return min(page_size or MAX_ROWS, MAX_ROWS)


def check_place(page_token: str) -> None:
    """Raises InvalidArgument unless a token is empty or an id: the page starts after it."""
    if page_token:
        check_id(page_token, "page_token")


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in a log: so many entries come before it, the last of them with checksum `mark`.

    `mark` is None in a log that is read from its oldest entry on, and at the start.
    """

    start: int
    mark: int | None = None

    @classmethod
    def from_token(cls, page_token: str, *, newest_first: bool) -> Self:
        """Raises InvalidArgument on a token that no page in this order had."""
        found = _LOG_TOKEN.fullmatch(page_token or "0")
        if found is None or (bool(page_token) and newest_first != bool(found[2])):
            raise InvalidArgument(
                "unknown page token", field="page_token", expected="next_page_token of the page before"
            )
        return cls(int(found[1]), int(found[2], 16) if found[2] else None)

    @property
    def token(self) -> str:
        return f"{self.start}" if self.mark is None else f"{self.start}-{self.mark:08x}"


def log_rows(
    read: Callable[[int, int], Sequence[Retrieval]], place: LogPlace, skip: int, *, newest_first: bool
) -> Iterator[tuple[pb.Retrieval, LogPlace]]:
    """The entries from `place` on but for the first `skip`, each with the place after it.

    `read(start, limit)` reads entries in the log's present order. Raises InvalidArgument where the log no
    longer has the entry before `place`.
    """
    if place.mark is None:
        place, skip = LogPlace(place.start + skip), 0
    while entries := _following(read, place):
        for number, message in entries:
            mark = crc32c(message.SerializeToString()) if newest_first else None
            place = LogPlace(number + 1, mark)
            if skip > 0:
                skip -= 1
            else:
                yield message, place


def _following(
    read: Callable[[int, int], Sequence[Retrieval]], place: LogPlace
) -> Sequence[tuple[int, pb.Retrieval]]:
    """The next entries after `place`, with their numbers."""
    if place.mark is None:
        return list(enumerate(map(wire.retrieval_to_proto, read(place.start, _READ_AHEAD)), place.start))
    start = place.start - 1
    while entries := read(start, _READ_AHEAD):
        messages = list(enumerate(map(wire.retrieval_to_proto, entries), start))
        marks = (crc32c(message.SerializeToString()) for _, message in messages)
        number = next((i for i, mark in enumerate(marks) if mark == place.mark), None)
        if number is None:  # so many entries were logged since
            start += len(entries)
        elif number < len(entries) - 1 or len(entries) < _READ_AHEAD:
            return messages[number + 1 :]
        else:
            start += number
    raise InvalidArgument(
        "the log does not go on from here", field="page_token", expected="a token of this log, or none"
    )
