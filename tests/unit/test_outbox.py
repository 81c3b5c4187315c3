"""A memory that goes away: what a rollout does meanwhile, and that it gets everything in the end."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

from generator.block_sampler import BlockSampler
from generator.errors import NotKeptError
from generator.history import outbox
from generator.history.history import History
from generator.history.past import Past
from generator.rollout import rollout
from memory_service.errors import DeadlineExceeded, Fenced, InvalidArgument, Unavailable
from memory_service.types import Span, VideoKey

BLOCKS = 12
KEY = VideoKey("tiny", "video")
PATIENCE_S = 0.8


class Flaky:
    """A memory that is away while `away` says so, for each call by its block, and may lose an answer."""

    def __init__(self, memory, away=frozenset(), lost=frozenset(), error=Unavailable) -> None:
        self._memory = memory
        self.away, self.lost, self.error = set(away), set(lost), error
        self.calls: list[int] = []
        self.may_come_back = threading.Event()

    def __getattr__(self, name: str):
        return getattr(self._memory, name)

    def append(self, key, block, **kwargs):
        return self._send(self._memory.append, key, block, **kwargs)

    def advance(self, key, block, query, **kwargs):
        return self._send(self._memory.advance, key, block, query, **kwargs)

    def _send(self, verb, key, block, *args, **kwargs):
        index = block.start // 3
        self.calls.append(index)
        if index in self.away:
            if self.may_come_back.is_set():
                self.away.clear()
            else:
                raise self.error("gone")
        answer = verb(key, block, *args, **kwargs)
        if index in self.lost:
            self.lost.discard(index)
            raise self.error("the answer is lost")
        return answer


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSES_S", (0.005,))


def degrading(tiny, memory, method="longlive_rag", *, back_at=None, patience_s=PATIENCE_S, settle_s=10):
    """All blocks of a rollout; the memory comes back when block `back_at` is there."""
    tiny = tiny.variant(memory=memory)
    spec = tiny.history("unused").spec
    blocks = []
    with History(memory, KEY, spec, patience_s=patience_s) as history:
        args = tiny.model(), tiny.config(method), tiny.track(BLOCKS), tiny.noise(BLOCKS), tiny.encoder
        for block in rollout(*args, history):
            blocks.append(block)
            if block.index == back_at:
                memory.may_come_back.set()
                history.settle(settle_s)
        history.settle(settle_s)
    return blocks


def stored(memory):
    past = Past.taken_over(memory, KEY, 3)
    return [past.block(Span(start, start + 3)) for start in range(0, past.length, 3)]


def test_blocks_made_without_the_memory_attend_the_window_and_come_to_it_later(tiny, memory, caplog) -> None:
    caplog.set_level(logging.WARNING)
    flaky = Flaky(memory, away={7})
    blocks = degrading(tiny, flaky, back_at=8)
    assert [block.index for block in blocks if block.degraded] == [8, 9]
    for block in blocks[8:10]:
        assert block.hits == block.context.retrieved == ()
        assert len(block.context.frames) + 3 == 12, "the whole window"
        assert block.context.query_positions == (9, 10, 11)
    assert all(len(block.hits) > 0 for block in (blocks[7], *blocks[10:]))
    kept = stored(memory)
    assert [bool(block.attended.degraded) for block in kept] == [bool(block.degraded) for block in blocks]
    assert all(torch.equal(k.latents, b.latents) for k, b in zip(kept, blocks, strict=True))
    assert flaky.calls == sorted(flaky.calls), "in order"
    assert "memory is away video=tiny/video from_frame=21" in caplog.text
    assert "memory is back video=tiny/video" in caplog.text
    assert "degraded video=tiny/video frames=[24, 27) reason=Unavailable: gone" in caplog.text


def test_a_memory_that_comes_back_within_a_clean_pass_leaves_the_next_block_the_window(
    tiny, memory, monkeypatch
) -> None:
    """Block 9 is put while the memory is away, so it is sent without a search."""
    flaky = Flaky(memory, away={7})
    recache, passes = BlockSampler.recache, iter(range(BLOCKS))
    with History(flaky, KEY, tiny.history("unused").spec, patience_s=PATIENCE_S) as history:

        def recache_while_it_comes_back(sampler, latents) -> None:
            recache(sampler, latents)
            if next(passes) == 9:
                flaky.may_come_back.set()
                history.settle(10)

        monkeypatch.setattr(BlockSampler, "recache", recache_while_it_comes_back)
        args = tiny.model(), tiny.config("longlive_rag"), tiny.track(BLOCKS), tiny.noise(BLOCKS), tiny.encoder
        blocks = list(rollout(*args, history))
        history.settle(10)
    assert [block.index for block in blocks if block.degraded] == [8, 9, 10]
    assert {block.degraded for block in blocks[8:11]} == {"Unavailable: gone"}
    assert len(blocks[10].context.frames) + 3 == 12, "the whole window"
    assert len(blocks[11].hits) > 0
    assert [bool(block.attended.degraded) for block in stored(memory)] == [bool(b.degraded) for b in blocks]


@pytest.mark.parametrize("error", [Unavailable, DeadlineExceeded])
def test_an_answer_that_is_lost_adds_no_block_twice(tiny, memory, error) -> None:
    whole = tiny.run("longlive_rag", BLOCKS, video="whole")
    blocks = degrading(tiny, Flaky(memory, lost={0, 3, 8}, error=error), patience_s=20)
    assert memory.get_video(KEY).state.length == 3 * BLOCKS
    assert not any(block.degraded for block in blocks), "it was back in time"
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, whole, strict=True))
    assert len(memory.retrievals(KEY)) == len({entry.length for entry in memory.retrievals(KEY)})


def test_what_retrieves_nothing_is_not_changed_by_a_loss(tiny, memory) -> None:
    whole = tiny.run("native", BLOCKS, video="whole")
    blocks = degrading(tiny, Flaky(memory, away={4}), "native", back_at=8)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, whole, strict=True))
    assert memory.get_video(KEY).state.length == 3 * BLOCKS


def test_a_degraded_rollout_is_replayed_as_it_was(tiny, memory) -> None:
    blocks = degrading(tiny, Flaky(memory, away={7}), back_at=9)
    past = Past.taken_over(memory, KEY, 3)
    with History(memory, KEY, past.spec, past=past) as history:
        args = tiny.model(), tiny.config("longlive_rag"), tiny.track(BLOCKS), tiny.noise(BLOCKS)
        again = list(rollout(*args, tiny.encoder, history))
    for first, second in zip(blocks, again, strict=True):
        assert first.context.frames[:1] == second.context.frames[:1]
        assert len(first.context.frames) == len(second.context.frames)
        assert torch.equal(first.latents, second.latents)
        assert bool(first.degraded) == bool(second.degraded)


def test_a_memory_that_does_not_come_back_is_an_error_that_names_the_frames(tiny, memory, caplog) -> None:
    flaky = Flaky(memory, away=set(range(9, BLOCKS)))
    with pytest.raises(
        NotKeptError, match=r"did not take frames \[27, 30\), .*\[33, 36\) of tiny/video: Una"
    ):
        degrading(tiny, flaky, settle_s=0.2)
    assert "not kept video=tiny/video frames=[27, 36)" in caplog.text
    assert memory.get_video(KEY).state.length == 27


def test_a_memory_that_gives_no_answer_costs_a_block_its_patience_once(tiny, memory) -> None:
    class Hanging(Flaky):
        def _send(self, verb, key, block, *args, **kwargs):
            if block.start == 21:
                self.may_come_back.wait(20)
            return super()._send(verb, key, block, *args, **kwargs)

    hanging = Hanging(memory)
    blocks = degrading(tiny, hanging, back_at=9, patience_s=0.3)
    waits = [block.timings.wait for block in blocks]
    assert waits[7] >= 300
    assert max(waits[8:10]) < 250, "nobody waits for a memory that is known to be away"
    assert {block.index for block in blocks if block.degraded} >= {8, 9}
    assert memory.get_video(KEY).state.length == 3 * BLOCKS


@pytest.mark.parametrize("error", [Fenced, InvalidArgument])
def test_other_errors_end_the_rollout_whatever_the_patience(tiny, memory, error) -> None:
    with pytest.raises(error):
        degrading(tiny, Flaky(memory, away={5}, error=error))
    assert memory.get_video(KEY).state.length == 15


def test_an_error_of_a_block_that_waited_ends_the_rollout_too(tiny, memory) -> None:
    class Restarted(Flaky):
        """Comes back, and another writer has taken over."""

        def _send(self, verb, key, block, *args, **kwargs):
            if self.may_come_back.is_set():
                self.error = Fenced
                raise Fenced("epoch is over")
            return super()._send(verb, key, block, *args, **kwargs)

    with pytest.raises(Fenced):
        degrading(tiny, Restarted(memory, away={4}), back_at=6)


def test_without_patience_the_first_loss_is_an_error(tiny, memory) -> None:
    with pytest.raises(Unavailable):
        degrading(tiny, Flaky(memory, away={5}), patience_s=None)


def test_what_waits_is_bounded(tiny, memory, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "BUFFER_BYTES", 3 * 3 * 16 * 4 * 4 * 4)
    with pytest.raises(NotKeptError, match=r"frames \[15, 18\), .*: more than 9216 bytes would wait"):
        degrading(tiny, Flaky(memory, away=set(range(5, BLOCKS))))
