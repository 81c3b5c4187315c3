"""Every verb by many threads at once: nothing unexpected is raised, and the books balance with the disk."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from books import held

from memory_service.engine import MemoryEngine
from memory_service.errors import (
    AlreadyExists,
    Exhausted,
    InvalidArgument,
    NotFound,
    OutOfOrder,
    Sealed,
    Unavailable,
)
from memory_service.types import Block, PoolSpec, Query, Span, VideoKey, VideoSpec

SPEC = VideoSpec(4, "float32", (2,), "x")
KEYS = [VideoKey(pool, video) for pool in "abc" for video in "uvw"]
LIMIT = 300_000
RUN_S = 5.0
EXPECTED = (AlreadyExists, Exhausted, InvalidArgument, NotFound, OutOfOrder, Sealed, Unavailable)
"""What threads that know nothing of each other must expect; Unavailable of a pool that is being dropped."""


def append(engine: MemoryEngine, key: VideoKey, size: int) -> None:
    start = engine.create_video(key, SPEC).state.length
    parts = {"latent": [bytes(8)] * 2, "preview": [bytes(size)] * 2}
    engine.append(key, Block(start, np.ones((2, 4), np.float32), parts), sync=size == 0)


def drop_pool(engine: MemoryEngine) -> None:
    engine.drop_pool("b", with_videos=True)
    engine.create_pool("b", PoolSpec(max_bytes=LIMIT))


def verbs(engine: MemoryEngine, rng: random.Random) -> list[Callable[[], object]]:
    """One of these is called next; appends are likelier than the rest."""
    key, other = rng.choice(KEYS), rng.choice(KEYS)
    size = rng.choice([0, 500, 3000])
    return [
        *[lambda: append(engine, key, size)] * 6,
        lambda: engine.fork_video(other, key),
        lambda: engine.drop_video(key),
        lambda: engine.truncate_video(key, rng.randint(0, 4)),
        lambda: engine.search(key, [Query(1, Span(0, 9), np.ones(4, np.float32))]),
        lambda: engine.list_videos(key.pool),
        lambda: engine.list_pools(),
        lambda: engine.heartbeat(KEYS),
        lambda: engine.import_video(key, engine.export_video(other)),
        lambda: drop_pool(engine) if rng.random() < 0.1 else None,
    ]


def test_the_books_balance_whatever_happens_together(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    engine = MemoryEngine(data_dir, commit_interval_s=0.01, extent_bytes=4096, max_hot_videos=3)
    for pool in "abc":
        engine.create_pool(pool, PoolSpec(max_bytes=LIMIT, ttl_ms=400 if pool == "c" else 0))
    end = time.monotonic() + RUN_S
    unexpected: list[Exception] = []
    kept = [0]

    def live(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end:
            try:
                rng.choice(verbs(engine, rng))()
                kept[0] += 1
            except EXPECTED:
                continue
            except Exception as exc:
                unexpected.append(exc)

    threads = [threading.Thread(target=live, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    assert kept[0] > 100
    engine.update_pool("c", PoolSpec(max_bytes=LIMIT))
    time.sleep(0.3)  # until the last commit is noted
    there = held(data_dir)
    used = {info.pool: (info.usage.num_bytes, info.usage.num_videos) for info in engine.list_pools()}
    assert used == {pool: there.get(pool, (0, 0)) for pool in used}
    engine.close()
    there = held(data_dir)
    again = MemoryEngine(data_dir)
    used = {info.pool: (info.usage.num_bytes, info.usage.num_videos) for info in again.list_pools()}
    again.close()
    assert used == {pool: there.get(pool, (0, 0)) for pool in used}
