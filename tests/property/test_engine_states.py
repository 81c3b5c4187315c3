"""An engine against a dictionary of arrays, through any sequence of verbs, restarts and crashes."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from samples import oracle

from memory_service.engine import MemoryEngine
from memory_service.errors import AlreadyExists, Fenced, NotFound, OutOfOrder
from memory_service.types import Block, Embeddings, Handle, Query, Span, VideoKey, VideoSpec

DIM = 4
SPEC = VideoSpec(DIM, "float32", (2,), "x", {})
KEYS = st.sampled_from([VideoKey(pool, video) for pool in ("a", "b") for video in ("v", "w")])
SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 3)
"""Few, so that vectors repeat and scores tie."""


@dataclass
class Model:
    """What one video must hold."""

    epoch: int
    rows: list[Embeddings] = field(default_factory=list)
    latents: list[bytes] = field(default_factory=list)
    previews: list[bytes | None] = field(default_factory=list)
    retrievals: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def history(self) -> Embeddings:
        return np.array(self.rows, np.float32).reshape(-1, DIM)


def new_block(start: int, n: int, seed: int, preview: bool) -> Block:
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 3, (n, DIM)).astype(np.float32)
    parts = {"latent": [rng.bytes(8) for _ in range(n)]}
    if preview:
        parts["preview"] = [rng.bytes(int(size)) for size in rng.integers(0, 90, n)]
    return Block(start, rows, parts)


class EngineMachine(RuleBasedStateMachine):
    @initialize(index=st.sampled_from(["flat", "faiss-flat"]))
    def start(self, index: str) -> None:
        self.index = index
        self.root = Path(tempfile.mkdtemp())
        self.lives = 0
        self.models: dict[VideoKey, Model] = {}
        self.stale: list[Handle] = []
        self.open(self.root / "0")

    def open(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.engine = MemoryEngine(data_dir, index=self.index, commit_interval_s=0.01, extent_bytes=4096)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            shutil.rmtree(self.root)

    @rule(key=KEYS)
    def create(self, key: VideoKey) -> None:
        info = self.engine.create_video(key, SPEC)
        model = self.models.setdefault(key, Model(info.state.epoch))
        assert (info.state.epoch, info.state.length) == (model.epoch, len(model.rows))

    @rule(key=KEYS, n=SIZES, seed=SEEDS, preview=st.booleans(), sync=st.booleans())
    def append(self, key: VideoKey, n: int, seed: int, preview: bool, sync: bool) -> None:
        if (model := self.models.get(key)) is None:
            with pytest.raises(NotFound):
                self.engine.append(key, new_block(0, n, seed, preview))
            return
        block = new_block(len(model.rows), n, seed, preview)
        answer = self.engine.append(key, block, epoch=model.epoch, sync=sync)
        self.remember(model, block)
        assert not answer.duplicate
        assert answer.state.length == len(model.rows)
        assert not sync or answer.state.durable == len(model.rows)

    @rule(key=KEYS, n=SIZES, seed=SEEDS, k=st.integers(1, 9))
    def advance(self, key: VideoKey, n: int, seed: int, k: int) -> None:
        if (model := self.models.get(key)) is None:
            return
        block = new_block(len(model.rows), n, seed, False)
        known = [Handle(key, model.epoch, frame) for frame in range(0, len(model.rows), 2)]
        answer = self.engine.advance(key, block, Query(k, Span(0, 50)), known=known)
        self.remember(model, block)
        frames, scores = oracle(model.history, model.rows[-1], k, Span(0, 50))
        model.retrievals.append(frames)
        assert tuple(hit.handle.frame for hit in answer.hits) == frames
        assert tuple(hit.score for hit in answer.hits) == scores
        assert [f.handle for f in answer.frames] == [h.handle for h in answer.hits if h.handle not in known]

    @rule(key=KEYS, data=st.data())
    def append_again(self, key: VideoKey, data: st.DataObject) -> None:
        model = self.models.get(key)
        if model is None or not model.rows:
            return
        start = data.draw(st.integers(0, len(model.rows) - 1))
        stop = start + 1
        with_preview = model.previews[start] is not None
        while stop < len(model.rows) and (model.previews[stop] is not None) == with_preview:
            stop += 1
        stop = data.draw(st.integers(start + 1, stop))
        parts: dict[str, list[bytes]] = {"latent": model.latents[start:stop]}
        if with_preview:
            parts["preview"] = [preview or b"" for preview in model.previews[start:stop]]
        same = Block(start, model.history[start:stop], parts)
        assert self.engine.append(key, same).duplicate
        other = Block(start, same.embeddings, {**parts, "latent": [*parts["latent"][:-1], b"differen"]})
        if parts["latent"][-1] != b"differen":
            with pytest.raises(AlreadyExists):
                self.engine.append(key, other)

    @rule(key=KEYS, gap=st.integers(1, 5))
    def append_out_of_order(self, key: VideoKey, gap: int) -> None:
        if (model := self.models.get(key)) is None:
            return
        with pytest.raises(OutOfOrder) as error:
            self.engine.append(key, new_block(len(model.rows) + gap, 1, 0, False))
        assert error.value.expected_start == len(model.rows)
        with pytest.raises(Fenced):
            self.engine.append(key, new_block(len(model.rows), 1, 0, False), epoch=model.epoch + 1)

    @rule(key=KEYS, data=st.data(), log=st.booleans())
    def search(self, key: VideoKey, data: st.DataObject, log: bool) -> None:
        model = self.models.get(key)
        if model is None or not model.rows:
            return
        queries = []
        for _ in range(data.draw(st.integers(1, 3))):
            frame = data.draw(st.integers(0, len(model.rows) - 1))
            start = data.draw(st.integers(0, len(model.rows)))
            span = Span(start, start + data.draw(st.integers(0, 12)))
            queries.append(Query(data.draw(st.integers(1, 12)), span, frame=frame))
        found = self.engine.search(key, queries, log=log)
        for query, hits in zip(queries, found.hits, strict=True):
            frames, scores = oracle(model.history, model.rows[query.frame or 0], query.k, query.eligible)
            assert tuple(hit.handle for hit in hits) == tuple(Handle(key, model.epoch, f) for f in frames)
            assert tuple(hit.score for hit in hits) == scores
            if log:
                model.retrievals.append(frames)

    @rule(key=KEYS)
    def drop(self, key: VideoKey) -> None:
        if key not in self.models:
            with pytest.raises(NotFound):
                self.engine.drop_video(key)
            return
        model = self.models.pop(key)
        self.engine.drop_video(key)
        self.stale += [Handle(key, model.epoch, frame) for frame in range(len(model.rows))][:3]

    @rule()
    def restart(self) -> None:
        self.engine.close()
        self.open(self.data_dir)

    @rule(torn=st.binary(max_size=200))
    def crash(self, torn: bytes) -> None:
        """Go on from a copy of the directory as it is now, with a torn record behind one reel's end."""
        self.lives += 1
        left = self.root / str(self.lives)
        shutil.copytree(self.data_dir, left)
        self.engine.close()
        for reel in sorted(left.glob("*/*.reel"))[:1]:
            data = reel.read_bytes()
            end = -(-len(data.rstrip(b"\0")) // 64) * 64
            reel.write_bytes(data[:end] + torn + bytes(300))
        self.open(left)

    @precondition(lambda self: self.models)
    @invariant()
    def holds_what_was_appended(self) -> None:
        for key, model in self.models.items():
            handles = [Handle(key, model.epoch, frame) for frame in range(len(model.rows))]
            for frame, got in enumerate(self.engine.fetch(handles)):
                parts = {name: bytes(data) for name, data in got.parts.items()}
                assert parts.pop("latent") == model.latents[frame]
                assert parts.pop("preview", None) == model.previews[frame]
                assert not parts
                np.testing.assert_array_equal(got.embedding, model.rows[frame])
            state = self.engine.get_video(key).state
            assert (state.epoch, state.length) == (model.epoch, len(model.rows))
            assert state.durable <= state.length
            assert [entry.frames for entry in self.engine.retrievals(key)] == model.retrievals

    @invariant()
    def holds_nothing_else(self) -> None:
        for pool in ("a", "b"):
            listed = {info.key: info.state.length for info in self.engine.list_videos(pool)}
            assert listed == {key: len(m.rows) for key, m in self.models.items() if key.pool == pool}
        for handle in self.stale:
            with pytest.raises(NotFound):
                self.engine.fetch([handle])

    @staticmethod
    def remember(model: Model, block: Block) -> None:
        n = len(block.embeddings)
        model.rows += list(block.embeddings)
        model.latents += [bytes(payload) for payload in block.parts["latent"]]
        model.previews += (
            [bytes(p) for p in block.parts["preview"]] if "preview" in block.parts else [None] * n
        )


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
