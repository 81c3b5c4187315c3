"""An engine against a dictionary of lists, through any sequence of verbs, restarts and crashes."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from samples import oracle

from memory_service.engine import MemoryEngine
from memory_service.errors import AlreadyExists, Fenced, InvalidArgument, NotFound, OutOfOrder, Sealed
from memory_service.types import Block, Embeddings, Handle, Parent, Query, Span, VideoKey, VideoSpec

DIM = 4
SPEC = VideoSpec(DIM, "float32", (2,), "x", {}, {"text": 2})
KEYS = st.sampled_from([VideoKey(pool, video) for pool in ("a", "b") for video in ("v", "w", "v.0f.base1")])
SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 3)
"""Few, so that vectors repeat and scores tie."""


@dataclass(frozen=True)
class Kept:
    """One frame of a video, and the epoch of its handle."""

    epoch: int
    row: Embeddings
    text: Embeddings
    latent: bytes
    preview: bytes | None
    metadata: dict[str, str]


@dataclass
class Model:
    """What one video must hold; a block ends at each of `stops`."""

    epoch: int
    frames: list[Kept] = field(default_factory=list)
    stops: set[int] = field(default_factory=lambda: {0})
    sealed: bool = False
    parent: Parent | None = None
    retrievals: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.frames)

    @property
    def history(self) -> Embeddings:
        return np.array([frame.row for frame in self.frames], np.float32).reshape(-1, DIM)

    def handle(self, key: VideoKey, frame: int) -> Handle:
        return Handle(key, self.frames[frame].epoch, frame)

    def begin(self, epoch: int, length: int, parent: Parent | None = None) -> "Model":
        """Another video with the first frames of this one."""
        frames = [replace(frame, epoch=epoch) for frame in self.frames[:length]]
        return Model(epoch, frames, {stop for stop in self.stops if stop <= length}, parent=parent)

    def remember(self, block: Block) -> None:
        previews = block.parts.get("preview", [None] * len(block.embeddings))
        for row, text, latent, preview in zip(
            block.embeddings, block.named["text"], block.parts["latent"], previews, strict=True
        ):
            kept = None if preview is None else bytes(preview)
            self.frames.append(Kept(self.epoch, row, text, bytes(latent), kept, dict(block.metadata)))
        self.stops.add(self.length)

    def again(self, start: int, stop: int) -> Block:
        """The frames [start, stop), which have the same parts and metadata, as one block."""
        frames = self.frames[start:stop]
        parts = {"latent": [frame.latent for frame in frames]}
        if frames[0].preview is not None:
            parts["preview"] = [frame.preview or b"" for frame in frames]
        rows, texts = (np.array([getattr(f, name) for f in frames]) for name in ("row", "text"))
        return Block(start, rows, parts, {"text": texts}, frames[0].metadata)


def new_block(start: int, n: int, seed: int, preview: bool) -> Block:
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 3, (n, DIM)).astype(np.float32)
    texts = rng.integers(1, 3, (n, 2)).astype(np.float32)
    parts = {"latent": [rng.bytes(8) for _ in range(n)]}
    if preview:
        parts["preview"] = [rng.bytes(int(size)) for size in rng.integers(0, 90, n)]
    return Block(start, rows, parts, {"text": texts}, {"seed": str(seed)} if seed % 2 else {})


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
        if (model := self.models.get(key)) is None:
            model = self.models[key] = Model(self.engine.create_video(key, SPEC).state.epoch)
        info = self.engine.create_video(key, SPEC)
        assert (info.state.epoch, info.state.length) == (model.epoch, model.length)

    @rule(key=KEYS, n=SIZES, seed=SEEDS, preview=st.booleans(), sync=st.booleans())
    def append(self, key: VideoKey, n: int, seed: int, preview: bool, sync: bool) -> None:
        model = self.models.get(key)
        block = new_block(model.length if model else 0, n, seed, preview)
        if model is None or model.sealed:
            with pytest.raises(NotFound if model is None else Sealed):
                self.engine.append(key, block)
            return
        answer = self.engine.append(key, block, epoch=model.epoch, sync=sync)
        model.remember(block)
        assert not answer.duplicate
        assert answer.state.length == model.length
        assert not sync or answer.state.durable == model.length

    @rule(key=KEYS, n=SIZES, seed=SEEDS, k=st.integers(1, 9))
    def advance(self, key: VideoKey, n: int, seed: int, k: int) -> None:
        model = self.models.get(key)
        if model is None or model.sealed:
            return
        block = new_block(model.length, n, seed, False)
        known = [model.handle(key, frame) for frame in range(0, model.length, 2)]
        answer = self.engine.advance(key, block, Query(k, Span(0, 50)), known=known)
        model.remember(block)
        frames, scores = oracle(model.history, model.frames[-1].row, k, Span(0, 50))
        model.retrievals.append(frames)
        assert tuple(hit.handle for hit in answer.hits) == tuple(model.handle(key, f) for f in frames)
        assert tuple(hit.score for hit in answer.hits) == scores
        assert [f.handle for f in answer.frames] == [h.handle for h in answer.hits if h.handle not in known]

    @rule(key=KEYS, data=st.data())
    def append_again(self, key: VideoKey, data: st.DataObject) -> None:
        model = self.models.get(key)
        if model is None or not model.frames:
            return
        start = data.draw(st.integers(0, model.length - 1))
        stop = start + 1
        first = model.frames[start]
        while stop < model.length and (
            (model.frames[stop].preview is None) == (first.preview is None)
            and model.frames[stop].metadata == first.metadata
        ):
            stop += 1
        stop = data.draw(st.integers(start + 1, stop))
        same = model.again(start, stop)
        assert self.engine.append(key, same, epoch=model.epoch).duplicate
        others = [
            replace(same, parts={**same.parts, "latent": [*same.parts["latent"][:-1], b"differen"]}),
            replace(same, named={"text": same.named["text"] + np.float32(1)}),
            replace(same, metadata={**same.metadata, "other": ""}),
            replace(same, unix_ms=1),
        ]
        for other in others:
            with pytest.raises(AlreadyExists):
                self.engine.append(key, other)

    @rule(key=KEYS, gap=st.integers(1, 5))
    def append_out_of_order(self, key: VideoKey, gap: int) -> None:
        if (model := self.models.get(key)) is None:
            return
        with pytest.raises(Sealed if model.sealed else OutOfOrder) as error:
            self.engine.append(key, new_block(model.length + gap, 1, 0, False))
        if isinstance(error.value, OutOfOrder):
            assert error.value.expected_start == model.length
        with pytest.raises(Fenced):
            self.engine.append(key, new_block(model.length, 1, 0, False), epoch=model.epoch + 1)

    @rule(key=KEYS, data=st.data(), log=st.booleans())
    def search(self, key: VideoKey, data: st.DataObject, log: bool) -> None:
        model = self.models.get(key)
        if model is None or not model.frames:
            return
        queries = []
        for _ in range(data.draw(st.integers(1, 3))):
            frame = data.draw(st.integers(0, model.length - 1))
            start = data.draw(st.integers(0, model.length))
            span = Span(start, start + data.draw(st.integers(0, 12)))
            queries.append(Query(data.draw(st.integers(1, 12)), span, frame=frame))
        found = self.engine.search(key, queries, log=log)
        for query, hits in zip(queries, found.hits, strict=True):
            row = model.frames[query.frame or 0].row
            frames, scores = oracle(model.history, row, query.k, query.eligible)
            assert tuple(hit.handle for hit in hits) == tuple(model.handle(key, f) for f in frames)
            assert tuple(hit.score for hit in hits) == scores
            if log:
                model.retrievals.append(frames)

    @rule(parent=KEYS, key=KEYS, data=st.data())
    def fork(self, parent: VideoKey, key: VideoKey, data: st.DataObject) -> None:
        model = self.models.get(parent)
        if model is None:
            with pytest.raises(NotFound):
                self.engine.fork_video(parent, key)
            return
        length = data.draw(st.integers(0, model.length))
        of = Parent(parent, model.epoch, length)
        there = self.models.get(key)
        if length not in model.stops:
            with pytest.raises(InvalidArgument):
                self.engine.fork_video(parent, key, length=length)
        elif there is not None and (there.parent != of or parent == key):
            with pytest.raises(AlreadyExists):
                self.engine.fork_video(parent, key, length=length)
        else:
            info = self.engine.fork_video(parent, key, length=length, epoch=model.epoch)
            if there is None:
                assert (info.state.length, info.state.durable) == (length, length)
                self.models[key] = model.begin(info.state.epoch, length, of)
            assert self.engine.fork_video(parent, key, length=length) == self.engine.get_video(key)

    @rule(key=KEYS, data=st.data(), fenced=st.booleans())
    def truncate(self, key: VideoKey, data: st.DataObject, fenced: bool) -> None:
        if (model := self.models.get(key)) is None:
            return
        length = data.draw(st.integers(0, model.length))
        if model.sealed:
            with pytest.raises(Sealed):
                self.engine.truncate_video(key, length)
            return
        gone = [model.handle(key, frame) for frame in range(length, model.length)]
        before = model.epoch
        state = self.engine.truncate_video(key, length, epoch=before if fenced else None).state
        assert (state.length, state.durable) == (length, length)
        assert state.epoch != before
        model.epoch = state.epoch
        del model.frames[length:]
        model.stops = {stop for stop in model.stops if stop < length} | {length}
        self.stale += gone[:3]
        assert self.engine.truncate_video(key, length, epoch=before).state == state

    @rule(key=KEYS)
    def seal(self, key: VideoKey) -> None:
        if (model := self.models.get(key)) is not None:
            assert self.engine.seal_video(key, epoch=model.epoch).sealed
            model.sealed = True

    @rule(key=KEYS, copy=KEYS)
    def export_and_import(self, key: VideoKey, copy: VideoKey) -> None:
        if (model := self.models.get(key)) is None:
            return
        reel = b"".join(self.engine.export_video(key))
        if copy in self.models:
            with pytest.raises(AlreadyExists):
                self.engine.import_video(copy, [reel])
            return
        info = self.engine.import_video(copy, [reel], expected=SPEC)
        assert (info.state.length, info.state.durable) == (model.length, model.length)
        self.models[copy] = model.begin(info.state.epoch, model.length)
        self.models[copy].sealed = model.sealed
        self.models[copy].retrievals = [*model.retrievals]

    @rule(key=KEYS)
    def drop(self, key: VideoKey) -> None:
        if key not in self.models:
            with pytest.raises(NotFound):
                self.engine.drop_video(key)
            return
        model = self.models.pop(key)
        self.engine.drop_video(key)
        self.stale += [model.handle(key, frame) for frame in range(model.length)][:3]

    @rule()
    def restart(self) -> None:
        self.engine.close()
        self.open(self.data_dir)

    @rule(torn=st.binary(max_size=200), number=st.integers(0, 5))
    def crash(self, torn: bytes, number: int) -> None:
        """Go on from a copy of the directory as it is now, with a torn record behind one reel's end."""
        self.lives += 1
        left = self.root / str(self.lives)
        subprocess.run(["cp", "--archive", self.data_dir, left], check=True)  # keeps hard links
        self.engine.close()
        reels = sorted(left.glob("*/*.reel"))
        if reels:
            reel = reels[number % len(reels)]
            data = reel.read_bytes()
            end = -(-len(data.rstrip(b"\0")) // 64) * 64
            reel.write_bytes(data[:end] + torn + bytes(300))
            os.link(reel, reel.with_name(f"{reel.stem}.f00.base0"))
        self.open(left)
        assert not list(left.glob("*/*.f00.base0"))

    @precondition(lambda self: self.models)
    @invariant()
    def holds_what_was_appended(self) -> None:
        for key, model in self.models.items():
            handles = [model.handle(key, frame) for frame in range(model.length)]
            for kept, got in zip(model.frames, self.engine.fetch(handles), strict=True):
                parts = {name: bytes(data) for name, data in got.parts.items()}
                assert parts.pop("latent") == kept.latent
                assert parts.pop("preview", None) == kept.preview
                assert not parts
                assert got.metadata == kept.metadata
                np.testing.assert_array_equal(got.embedding, kept.row)
                np.testing.assert_array_equal(got.named["text"], kept.text)
            info = self.engine.get_video(key)
            assert (info.state.epoch, info.state.length) == (model.epoch, model.length)
            assert (info.sealed, info.parent) == (model.sealed, model.parent)
            assert info.state.durable <= info.state.length
            assert [entry.frames for entry in self.engine.retrievals(key)] == model.retrievals

    @invariant()
    def holds_nothing_else(self) -> None:
        for pool in ("a", "b"):
            listed = {info.key: info for info in self.engine.list_videos(pool)}
            assert listed.keys() == {key for key in self.models if key.pool == pool}
            for key, info in listed.items():
                model = self.models[key]
                assert (info.state.length, info.sealed) == (model.length, model.sealed)
        for handle in self.stale:
            with pytest.raises(NotFound):
                self.engine.fetch([handle])


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
