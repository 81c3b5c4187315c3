"""What forks share costs each pool once, whoever drops what in which order."""

import pytest

from memory_service.errors import Exhausted
from memory_service.pooling.quota import Ledger
from memory_service.pooling.shares import SharedReel, Shares
from memory_service.types import PoolSpec, VideoKey

PARENT_INODE = 7


def shared(used: int, home: str | None = "home", num_bytes: int = 0) -> SharedReel:
    return SharedReel(PARENT_INODE, used, num_bytes, home)


def test_forks_in_the_parents_pool_cost_nothing_more() -> None:
    books = Ledger()
    shares = Shares(books)
    for name in ("a", "b"):
        shares.link(VideoKey("home", name), [shared(100)])
    assert books.used("home").num_bytes == 0
    shares.orphan(PARENT_INODE, 1000)
    assert books.used("home").num_bytes == 1000
    shares.unlink(VideoKey("home", "a"))
    assert books.used("home").num_bytes == 1000
    shares.unlink(VideoKey("home", "b"))
    assert books.used("home").num_bytes == 0
    assert not shares.is_shared(PARENT_INODE)


def test_forks_elsewhere_cost_what_they_use_until_only_they_keep_the_file() -> None:
    books = Ledger()
    shares = Shares(books)
    shares.link(VideoKey("away", "a"), [shared(100)])
    shares.link(VideoKey("away", "b"), [shared(300)])
    shares.link(VideoKey("third", "c"), [shared(50)])
    assert (books.used("away").num_bytes, books.used("third").num_bytes) == (300, 50)
    shares.unlink(VideoKey("away", "b"))
    assert books.used("away").num_bytes == 100
    shares.orphan(PARENT_INODE, 5000)
    assert (books.used("away").num_bytes, books.used("third").num_bytes) == (5000, 5000)
    shares.unlink(VideoKey("away", "a"))
    shares.unlink(VideoKey("third", "c"))
    assert books.total.num_bytes == 0


def test_a_fork_beyond_the_quota_shares_nothing() -> None:
    books = Ledger()
    books.allow("away", PoolSpec(max_bytes=200))
    shares = Shares(books)
    with pytest.raises(Exhausted):
        shares.link(VideoKey("away", "a"), [shared(201)])
    assert not shares.is_shared(PARENT_INODE)
    shares.link(VideoKey("away", "b"), [shared(200)])
    shares.link(VideoKey("away", "c"), [shared(150)])
    assert books.used("away").num_bytes == 200


def test_a_fork_of_a_fork_shares_several_files() -> None:
    books = Ledger()
    shares = Shares(books)
    chain = [SharedReel(1, 10, 10, None), SharedReel(2, 20, 40, "home")]
    shares.link(VideoKey("away", "a"), chain)
    assert books.used("away").num_bytes == 10 + 20
    shares.unlink(VideoKey("away", "a"))
    shares.unlink(VideoKey("away", "never there"))
    assert books.used("away").num_bytes == 0


def test_the_end_of_a_video_that_nobody_shares_costs_nobody() -> None:
    books = Ledger()
    Shares(books).orphan(PARENT_INODE, 100)
    assert books.total.num_bytes == 0
