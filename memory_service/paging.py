"""Pages of a listing: as many rows as asked for and as fit one message."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from memory_service.errors import InvalidArgument

MAX_ROWS = 1000
"""Rows of one page, whatever was asked for."""

Row = TypeVar("Row")


def fill(
    rows: Iterable[Row],
    num_bytes: Callable[[Row], int],
    budget_bytes: int,
    max_rows: int = MAX_ROWS,
    *,
    at_least: int = 1,
) -> list[Row]:
    """The first rows that fit `budget_bytes` together, at most `max_rows`, `at_least` so many in any case."""
    page: list[Row] = []
    for row in rows:
        budget_bytes -= num_bytes(row)
        if len(page) >= at_least and (budget_bytes < 0 or len(page) == max_rows):
            break
        page.append(row)
    return page


def rows_wanted(page_size: int) -> int:
    """Raises InvalidArgument on a negative size; 0 leaves the choice to the server."""
    if page_size < 0:
        raise InvalidArgument(f"page_size is {page_size}", field="page_size", expected="0 or more")
    return min(page_size or MAX_ROWS, MAX_ROWS)


def position(page_token: str) -> int:
    """Number of rows before this page; its `str` is the token. Raises InvalidArgument on any other token."""
    if not page_token:
        return 0
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) < 19):
        raise InvalidArgument(
            "unknown page token", field="page_token", expected="next_page_token of the page before"
        )
    return int(page_token)
