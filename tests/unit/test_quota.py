"""The books: exact whatever happens together, and never past a quota."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_service.errors import DataLoss, Exhausted
from memory_service.pooling.quota import MARK_BYTES, Account, Booked, Ledger
from memory_service.types import PoolSpec


def ledger(**spec: int) -> Ledger:
    made = Ledger()
    made.allow("pool", PoolSpec(**spec))
    return made


def test_a_refusal_says_what_is_used_and_allowed_and_changes_nothing() -> None:
    books = ledger(max_bytes=1000)
    books.book("pool", 600)
    with pytest.raises(Exhausted) as error:
        books.book("pool", 401)
    assert error.value.details == {"used": "600", "allowed": "1000", "unit": "bytes", "pool": "pool"}
    assert error.value.field == "key.pool"
    books.book("pool", 400)
    assert books.used("pool").num_bytes == books.total.num_bytes == 1000


def test_videos_are_counted_apart_from_bytes() -> None:
    books = ledger(max_videos=1)
    books.book("pool", 10, 1)
    with pytest.raises(Exhausted) as error:
        books.book("pool", 10, 1)
    assert (error.value.details["unit"], error.value.details["used"]) == ("videos", "1")
    books.book("pool", 10**9)


def test_the_whole_is_a_quota_of_its_own() -> None:
    books = Ledger(max_bytes=100, max_videos=2)
    books.book("a", 60, 1)
    with pytest.raises(Exhausted) as error:
        books.book("b", 41)
    assert "pool" not in error.value.details
    assert error.value.field == ""
    books.book("b", 40, 1)
    with pytest.raises(Exhausted):
        books.book("c", 0, 1)
    assert books.used("c").num_videos == 0


def test_a_quota_below_what_is_used_refuses_only_more() -> None:
    books = ledger()
    books.book("pool", 500, 3)
    books.allow("pool", PoolSpec(max_bytes=100, max_videos=1))
    with pytest.raises(Exhausted):
        books.book("pool", 1)
    books.correct("pool", -450, -3)
    books.book("pool", 50, 1)


def test_a_pool_whose_spec_is_unknown_gets_nothing_new() -> None:
    books = ledger()
    books.refuse("pool", lambda: DataLoss("unreadable"))
    with pytest.raises(DataLoss):
        books.book("pool", 1)
    books.correct("pool", 5)
    assert books.used("pool").num_bytes == 5


def test_what_fails_in_a_with_is_not_booked() -> None:
    books = ledger(max_bytes=100)
    with pytest.raises(OSError, match="disk"), books.booked("pool", 80, 1):
        raise OSError("disk")
    with books.booked("pool", 80, 1):
        assert books.used("pool").num_bytes == 80
    assert (books.used("pool").num_bytes, books.used("pool").num_videos) == (80, 1)


def test_what_is_booked_outlives_a_pool_until_it_is_corrected() -> None:
    """Whoever is still receiving or dropping something when its pool goes takes it off the books itself."""
    books = ledger(max_bytes=100)
    books.book("pool", 80, 2)
    books.book("other", 7, 1)
    books.forget("pool")
    assert (books.total.num_bytes, books.total.num_videos) == (87, 3)
    books.book("pool", 500)
    books.correct("pool", -580, -2)
    assert (books.total.num_bytes, books.total.num_videos) == (7, 1)
    assert books.used("pool") == Booked()
    books.clear()
    assert books.total == Booked()


class TestAccount:
    def test_room_for_the_mark_of_a_record_is_kept(self) -> None:
        """Used never exceeds allowed by the commits that are still to be noted."""
        books = ledger(max_bytes=1000)
        one, other = Account(books, "pool", 0), Account(books, "pool", 0)
        one.grow(1000 - 2 * MARK_BYTES - 100, mark=False)
        with pytest.raises(Exhausted):
            other.grow(101, mark=False)
        other.grow(100, mark=False)
        for account in (one, other):
            account.grow(MARK_BYTES, mark=True)
            account.settle(account.num_bytes, mark_due=False)
        assert books.used("pool").num_bytes == 1000
        assert books.used("pool").pledged == 0

    def test_marks_are_never_refused(self) -> None:
        books = ledger(max_bytes=10)
        account = Account(books, "pool", 0)
        account.grow(64, mark=True)
        assert books.used("pool").num_bytes == 64

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2), st.sampled_from(["grow", "fail", "commit", "close"]), st.integers(1, 400)
            ),
            max_size=40,
        )
    )
    def test_the_books_are_the_sum_of_the_accounts(self, steps: list[tuple[int, str, int]]) -> None:
        """Appends, failed writes, commits and closings in any order, against sums kept beside."""
        books = ledger(max_bytes=2000)
        accounts = [Account(books, "pool", 0) for _ in range(3)]
        sizes, due = [0, 0, 0], [False, False, False]
        for number, step, size in steps:
            account = accounts[number]
            if step in ("grow", "fail"):
                fits = sum(sizes) + size + MARK_BYTES * sum(due) + MARK_BYTES * (not due[number]) <= 2000
                try:
                    account.grow(size, mark=False)
                    assert fits
                except Exhausted:
                    assert not fits
                    continue
                if step == "fail":
                    account.settle(sizes[number], mark_due=due[number])
                else:
                    sizes[number] += size
                    due[number] = True
            elif step == "commit" and due[number]:
                account.grow(MARK_BYTES, mark=True)
                sizes[number] += MARK_BYTES
                due[number] = False
                account.settle(sizes[number], mark_due=False)
            elif step == "close":
                account.settle(sizes[number], mark_due=False)
                due[number] = False
            used = books.used("pool")
            assert used.num_bytes == sum(sizes) <= 2000
            assert used.pledged == MARK_BYTES * sum(due)


def test_threads_never_pass_a_quota_together() -> None:
    books = ledger(max_bytes=1000, max_videos=40)
    taken = [0] * 8

    def take(number: int) -> None:
        for _ in range(200):
            try:
                books.book("pool", 7, number % 2)
                taken[number] += 1
            except Exhausted:
                continue

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert books.used("pool").num_bytes == 7 * sum(taken) <= 1000
    assert books.used("pool").num_videos == sum(taken[1::2]) <= 40
    assert 7 * (sum(taken) + 1) > 1000 or sum(taken[1::2]) == 40
