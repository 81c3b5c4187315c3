"""What pools are said to use against what lies on the disk, through any sequence of verbs and ends."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from books import end_of, held
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memory_service.engine import MemoryEngine
from memory_service.errors import AlreadyExists, Exhausted, Sealed
from memory_service.types import Block, PoolSpec, Query, Span, VideoKey, VideoSpec

DIM = 4
SPEC = VideoSpec(DIM, "float32", (2,), "x", {})
KEYS = st.sampled_from([VideoKey("a", "v"), VideoKey("a", "w"), VideoKey("b", "v")])
LIMIT = 24_000
EXPECTED = (Sealed, Exhausted, AlreadyExists)


class Accounting(RuleBasedStateMachine):
    @initialize(max_hot=st.sampled_from([1, 2, 100]))
    def start(self, max_hot: int) -> None:
        self.max_hot = max_hot
        self.root = Path(tempfile.mkdtemp())
        self.lives = 0
        self.open(self.root / "0")
        for pool in ("a", "b"):
            self.engine.create_pool(pool, PoolSpec(max_bytes=LIMIT))

    def open(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.engine = MemoryEngine(
            data_dir, commit_interval_s=3600, extent_bytes=4096, max_hot_videos=self.max_hot
        )

    @property
    def there(self) -> list[VideoKey]:
        found = (path for path in self.data_dir.glob("*/*.reel"))
        return sorted((VideoKey(path.parent.name, path.stem) for path in found), key=str)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            shutil.rmtree(self.root)

    @rule(key=KEYS, n=st.integers(1, 3), size=st.sampled_from([0, 100, 5000]), sync=st.booleans())
    def append(self, key: VideoKey, n: int, size: int, sync: bool) -> None:
        try:
            length = self.engine.create_video(key, SPEC).state.length
            parts = {"latent": [bytes(8)] * n, "preview": [bytes(size)] * n}
            self.engine.append(key, Block(length, np.ones((n, DIM), np.float32), parts), sync=sync)
        except EXPECTED:
            return

    @rule(data=st.data(), key=KEYS)
    @precondition(lambda self: self.there)
    def fork(self, data: st.DataObject, key: VideoKey) -> None:
        parent = data.draw(st.sampled_from(self.there))
        if key != parent and key in self.there:
            self.engine.drop_video(key)
        try:
            self.engine.fork_video(parent, key)
        except EXPECTED:
            return

    @rule(data=st.data())
    @precondition(lambda self: self.there)
    def drop(self, data: st.DataObject) -> None:
        self.engine.drop_video(data.draw(st.sampled_from(self.there)))

    @rule(data=st.data(), key=KEYS, verb=st.sampled_from(["search", "truncate", "truncate", "seal", "copy"]))
    @precondition(lambda self: self.there)
    def go_on(self, data: st.DataObject, key: VideoKey, verb: str) -> None:
        there = data.draw(st.sampled_from(self.there))
        try:
            if verb == "search":
                self.engine.search(there, [Query(1, Span(0, 9), np.ones(DIM, np.float32))])
            elif verb == "truncate":
                length = self.engine.get_video(there).state.length
                self.engine.truncate_video(there, data.draw(st.integers(0, length)))
            elif verb == "seal":
                self.engine.seal_video(there)
            else:
                self.engine.import_video(key, self.engine.export_video(there))
        except EXPECTED:
            return

    @rule(pool=st.sampled_from(["a", "b"]))
    @precondition(lambda self: len(self.there) == 3)
    def drop_pool(self, pool: str) -> None:
        self.engine.drop_pool(pool, with_videos=True)
        self.engine.create_pool(pool, PoolSpec(max_bytes=LIMIT))

    @rule()
    @precondition(lambda self: self.there)
    def restart(self) -> None:
        self.engine.close()
        self.open(self.data_dir)

    @precondition(lambda self: self.there)
    @rule(torn=st.sampled_from([b"", b"torn" * 30]))
    def crash(self, torn: bytes) -> None:
        """Go on from the directory as a kill -9 would leave it, with its links and space allocated ahead."""
        self.lives += 1
        left = self.root / str(self.lives)
        subprocess.run(["cp", "-a", self.data_dir, left], check=True)
        self.engine.close()
        for reel in sorted(left.glob("*/*.reel"))[:1]:
            if reel.stat().st_nlink == 1:
                end = end_of(reel)
                with reel.open("r+b") as file:
                    file.seek(end)
                    file.write(torn)
                    file.truncate(max(end + len(torn), reel.stat().st_size if not torn else 0))
        self.open(left)
        for pool in ("a", "b"):
            for info in self.engine.list_videos(pool):
                self.engine.get_video(info.key)

    @invariant()
    def books_are_what_is_on_the_disk(self) -> None:
        if not hasattr(self, "engine"):
            return
        there = held(self.data_dir)
        pools = {info.pool: info for info in self.engine.list_pools()}
        assert set(pools) == {"a", "b"}
        for pool, info in pools.items():
            assert info.spec.max_bytes == LIMIT
            assert (info.usage.num_bytes, info.usage.num_videos) == there.get(pool, (0, 0))
        total = self.engine.info()
        assert total.num_bytes == sum(info.usage.num_bytes for info in pools.values())
        assert total.num_videos == sum(info.usage.num_videos for info in pools.values())


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
