"""Which video is closed next: the oldest of the pool that has most, and none below its share."""

from memory_service.pooling.hot import HotSet
from memory_service.types import VideoKey


def filled(hot: HotSet, pool: str, count: int, num_bytes: int = 10) -> list[VideoKey]:
    keys = [VideoKey(pool, str(number)) for number in range(count)]
    for key in keys:
        hot.use(key)
        hot.rest(key, num_bytes, closable=True)
    return keys


def close_all(hot: HotSet) -> list[VideoKey]:
    closed = []
    while (key := hot.next_to_close()) is not None:
        hot.close(key)
        closed.append(key)
    return closed


def test_nothing_is_closed_within_the_budgets() -> None:
    hot = HotSet(max_videos=3, max_bytes=30)
    filled(hot, "a", 3)
    assert hot.next_to_close() is None
    assert (len(hot), hot.num_bytes, hot.share("a"), hot.share("b")) == (3, 30, (3, 30), (0, 0))


def test_the_longest_unused_goes_first() -> None:
    hot = HotSet(max_videos=3, max_bytes=0)
    keys = filled(hot, "a", 5)
    hot.use(keys[0])
    hot.rest(keys[0], 10, closable=True)
    assert close_all(hot) == keys[1:3]


def test_the_pool_that_has_most_pays() -> None:
    """One video of b is the oldest of all, and stays."""
    hot = HotSet(max_videos=4, max_bytes=0)
    filled(hot, "b", 1)
    greedy = filled(hot, "a", 5)
    assert close_all(hot) == greedy[:2]
    assert hot.share("b") == (1, 10)


def test_bytes_are_shared_like_videos() -> None:
    hot = HotSet(max_videos=100, max_bytes=100)
    filled(hot, "b", 5, 10)
    greedy = filled(hot, "a", 3, 30)
    assert close_all(hot) == greedy[:2]
    assert hot.num_bytes == 80


def test_a_pool_within_its_share_is_spared_while_the_other_is_in_use() -> None:
    hot = HotSet(max_videos=4, max_bytes=0)
    filled(hot, "b", 2)
    busy = [VideoKey("a", str(number)) for number in range(6)]
    for key in busy:
        hot.use(key)
    assert hot.next_to_close() is None
    hot.rest(busy[3], 10, closable=True)
    assert close_all(hot) == [busy[3]]


def test_what_cannot_be_closed_stays() -> None:
    hot = HotSet(max_videos=1, max_bytes=0)
    for name in "xyz":
        hot.use(VideoKey("a", name))
        hot.rest(VideoKey("a", name), 10, closable=name != "x")
    assert close_all(hot) == [VideoKey("a", "y"), VideoKey("a", "z")]


def test_the_video_just_used_is_not_closed_for_its_own_growth() -> None:
    hot = HotSet(max_videos=9, max_bytes=100)
    (key,) = filled(hot, "a", 1, 500)
    assert hot.next_to_close(keep=key) is None
    assert hot.next_to_close() == key


def test_costs_follow_their_video() -> None:
    hot = HotSet(max_videos=9, max_bytes=0)
    (key,) = filled(hot, "a", 1, 10)
    hot.use(key)
    hot.rest(key, 25, closable=True)
    assert hot.num_bytes == 25
    hot.close(key)
    hot.close(key)
    assert (len(hot), hot.num_bytes, hot.share("a")) == (0, 0, (0, 0))
