"""Which payloads a client keeps, and when it may not use them any more."""

import random
import threading

from samples import KEY, embeddings, latents

from memory_service.remote.payloads import PayloadCache
from memory_service.types import Frame, Handle, Span, VideoKey
from memory_service.wire import bulk

OTHER = VideoKey("pool", "other")


def frame(number: int, *, key: VideoKey = KEY, epoch: int = 1, size: int = 100) -> Frame:
    parts = {"latent": latents(number, 1, size)[0]}
    return Frame(Handle(key, epoch, number), embeddings(number, 1)[0], parts)


SIZE = bulk.frame_bytes(frame(0))


def cache_of(frames: float) -> PayloadCache:
    cache = PayloadCache(int(frames * SIZE))
    cache.observe(KEY, 1)
    cache.observe(OTHER, 1)
    return cache


def test_what_was_used_the_longest_ago_goes_first() -> None:
    cache = cache_of(3)
    for number in range(3):
        cache.put(frame(number), 1)
    assert cache.get(frame(0).handle) is not None
    cache.put(frame(3), 1)
    assert [number for number in range(4) if cache.get(frame(number).handle)] == [0, 2, 3]
    assert cache.num_bytes == 3 * SIZE


def test_a_frame_that_fits_nowhere_is_not_held() -> None:
    cache = cache_of(2)
    cache.put(frame(0), 1)
    cache.put(frame(1, size=10_000), 1)
    assert cache.get(frame(1).handle) is None
    assert cache.get(frame(0).handle) is not None


def test_a_cache_without_a_budget_holds_nothing() -> None:
    cache = cache_of(0)
    cache.put(frame(0), 1)
    assert cache.get(frame(0).handle) is None
    assert cache.epoch(KEY) is None


def test_another_epoch_forgets_the_video_and_no_other() -> None:
    cache = cache_of(9)
    cache.put(frame(0), 1)
    cache.put(frame(0, key=OTHER), 1)
    cache.observe(KEY, 1)
    assert cache.get(frame(0).handle) is not None
    cache.observe(KEY, 2)
    assert cache.get(frame(0).handle) is None
    assert cache.frames(KEY, Span(0, 9)) == []
    assert cache.get(frame(0, key=OTHER).handle) is not None
    assert cache.num_bytes == SIZE


def test_a_frame_that_was_asked_for_in_another_epoch_is_not_held() -> None:
    cache = cache_of(9)
    cache.observe(KEY, 2)
    for epoch in (1, None):
        cache.put(frame(0), epoch)
        assert cache.get(frame(0).handle) is None
    cache.put(frame(0), 2)  # a frame that a truncation kept carries the epoch in which it was appended
    assert cache.get(frame(0).handle) is not None


def test_a_video_of_which_nothing_was_heard_is_not_held() -> None:
    cache = PayloadCache(9 * SIZE)
    cache.put(frame(0), None)
    assert cache.get(frame(0).handle) is None


def test_frames_of_a_span() -> None:
    cache = cache_of(9)
    for number in (7, 2, 5):
        cache.put(frame(number), 1)
    cache.put(frame(3, key=OTHER), 1)
    assert sorted(cache.frames(KEY, Span(2, 7))) == [2, 5]
    assert cache.frames(VideoKey("pool", "nobody"), Span(0, 9)) == []


def test_answers_do_not_share_their_mappings() -> None:
    cache = cache_of(3)
    put = frame(0)
    cache.put(put, 1)
    dict.clear(put.parts)  # type: ignore[arg-type]
    first = cache.get(put.handle)
    assert first is not None
    dict.clear(first.parts)  # type: ignore[arg-type]
    second = cache.get(put.handle)
    assert second is not None
    assert set(second.parts) == {"latent"}


def test_epochs_of_countless_videos_are_not_remembered() -> None:
    cache = PayloadCache(9 * SIZE)
    for i in range(5000):
        cache.observe(VideoKey("pool", str(i)), 1)
    assert cache.epoch(VideoKey("pool", "0")) is None
    assert cache.epoch(VideoKey("pool", "4999")) == 1


def test_the_count_returns_to_nothing_whatever_threads_do() -> None:
    cache = cache_of(5)
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(2000):
                key, number, epoch = rng.choice([KEY, OTHER]), rng.randrange(12), rng.randrange(1, 3)
                match rng.randrange(5):
                    case 0 | 1:
                        cache.put(frame(number, key=key, size=rng.choice([1, 100, 900])), cache.epoch(key))
                    case 2:
                        got = cache.get(Handle(key, 1, number))
                        assert got is None or got.handle == Handle(key, 1, number)
                    case 3 if rng.random() < 0.05:
                        cache.observe(key, epoch)
                    case 4 if rng.random() < 0.05:
                        cache.forget(key)
                        cache.observe(key, epoch)
                assert 0 <= cache.num_bytes <= 5 * SIZE
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    cache.forget(KEY)
    cache.forget(OTHER)
    assert cache.num_bytes == 0
