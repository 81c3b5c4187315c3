"""Pages of listings and logs, also of those that grow while they are read."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from samples import KEY

from memory_service.errors import InvalidArgument
from memory_service.serving.paging import LogPlace, check_place, fill, log_rows, rows_wanted
from memory_service.types import Retrieval, Span

ONE = Retrieval(KEY, 1, 9, None, Span(0, 9), 1, "top-k", (3,), (0.5,), 10, 0)


class Log:
    """A log that can grow, oldest entry first."""

    def __init__(self, length: int) -> None:
        self.entries = [replace(ONE, unix_ms=i) for i in range(length)]
        self.reads = 0

    def add(self, count: int = 1) -> None:
        self.entries += [replace(ONE, unix_ms=len(self.entries) + i) for i in range(count)]

    def page(
        self, size: int, token: str = "", *, newest_first: bool = False, skip: int = 0
    ) -> tuple[list[int], str]:
        """Times of the entries of one page, and the token of the next."""

        def read(start: int, limit: int) -> Sequence[Retrieval]:
            self.reads += 1
            return (self.entries[::-1] if newest_first else self.entries)[start : start + limit]

        place = LogPlace.from_token(token, newest_first=newest_first)
        rows = log_rows(read, place, skip, newest_first=newest_first)
        page, more = fill(rows, lambda row: row[0].ByteSize(), 1 << 20, size)
        return [message.unix_ms for message, _ in page], page[-1][1].token if more else ""


def test_rows_fill_a_message_and_one_always_fits() -> None:
    rows = ["a" * 10] * 9
    assert fill(rows, len, 35) == (rows[:3], True)
    assert fill(rows, len, 5) == (rows[:1], True)
    assert fill(rows, len, 5, at_least=0) == ([], True)
    assert fill(rows, len, 1000) == (rows, False)
    assert fill(rows, len, 1000, 4) == (rows[:4], True)
    assert fill([], len, 1000) == ([], False)


def test_sizes() -> None:
    assert (rows_wanted(0), rows_wanted(7), rows_wanted(10_000)) == (1000, 7, 1000)
    with pytest.raises(InvalidArgument):
        rows_wanted(-1)


def test_places_in_a_list_are_ids() -> None:
    check_place("")
    check_place("take-1")
    with pytest.raises(InvalidArgument):
        check_place("../x")


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [1, 7, 49, 50, 51, 1000])
def test_pages_together_are_the_log(newest_first: bool, size: int) -> None:
    log = Log(173)
    rows, token = log.page(size, newest_first=newest_first)
    while token:
        page, token = log.page(size, token, newest_first=newest_first)
        rows += page
    assert rows == (list(range(172, -1, -1)) if newest_first else list(range(173)))


@pytest.mark.parametrize("added", [1, 49, 50, 51, 200])
def test_the_newest_first_hold_still_while_more_are_logged(added: int) -> None:
    log = Log(173)
    rows, token = log.page(10, newest_first=True)
    while token:
        log.add(added)
        page, token = log.page(10, token, newest_first=True)
        rows += page
    assert rows == list(range(172, -1, -1))


def test_a_page_reads_no_more_than_it_shows() -> None:
    log = Log(5000)
    _, token = log.page(40)
    assert log.reads == 1
    log.page(40, token)
    assert log.reads == 2


@pytest.mark.parametrize("newest_first", [False, True])
def test_entries_can_be_passed_over(newest_first: bool) -> None:
    log = Log(173)
    whole, _ = log.page(1000, newest_first=newest_first)
    assert log.page(5, newest_first=newest_first, skip=60)[0] == whole[60:65]
    _, token = log.page(5, newest_first=newest_first)
    assert log.page(5, token, newest_first=newest_first, skip=100)[0] == whole[105:110]
    assert log.page(5, newest_first=newest_first, skip=173) == ([], "")


@pytest.mark.parametrize("token", ["x", "-1", "5-", "5-1234567", "5-0000000g", "1e3", "9" * 30, "\u0661"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_other_tokens_are_refused(token: str, newest_first: bool) -> None:
    with pytest.raises(InvalidArgument) as caught:
        LogPlace.from_token(token, newest_first=newest_first)
    assert caught.value.field == "page_token"


def test_a_token_of_the_other_order_is_refused() -> None:
    log = Log(9)
    for newest_first in (False, True):
        _, token = log.page(2, newest_first=newest_first)
        with pytest.raises(InvalidArgument):
            log.page(2, token, newest_first=not newest_first)


def test_a_token_of_another_log_is_refused() -> None:
    _, token = Log(9).page(2, newest_first=True)
    with pytest.raises(InvalidArgument) as caught:
        Log(5).page(2, token, newest_first=True)
    assert caught.value.field == "page_token"
