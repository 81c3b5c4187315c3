"""A rollout that goes on with what the memory has gives the bits of one that was never interrupted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import islice

import pytest
import torch

from generator.configs import Window
from generator.errors import ConfigError, PlanError
from generator.history.history import History
from generator.history.past import Past
from generator.history.replay import Replay
from generator.kv.config import KVConfig
from generator.methods.deep_forcing import DeepForcing
from generator.rollout import RolledBlock, rollout
from memory_service.errors import Fenced
from memory_service.types import LATENT, Span, VideoKey

BLOCKS = 11
KEY = VideoKey("tiny", "video")
METHODS = ("longlive_rag", "native", "deep_forcing", "infinity_rope", "random_memory")


def begin(tiny, method: str, made: int) -> None:
    """Make the first blocks of a rollout and go away without a word."""
    with tiny.history(KEY.video) as history:
        assert len(list(islice(blocks_of(tiny, method, history), made))) == made


def resume(tiny, method: str, replay: str = "exact", blocks: int = BLOCKS) -> list[RolledBlock]:
    past = Past.taken_over(tiny.memory, KEY, tiny.window.block_frames, replay)
    with History(tiny.memory, KEY, past.spec, past=past) as history:
        return list(blocks_of(tiny, method, history, blocks))


def blocks_of(tiny, method: str, history: History, blocks: int = BLOCKS):
    track, noise = tiny.track(blocks), tiny.noise(blocks)
    return rollout(tiny.model(), tiny.config(method), track, noise, tiny.encoder, history)


def assert_same(resumed: list[RolledBlock], whole: list[RolledBlock]) -> None:
    for ours, theirs in zip(resumed, whole, strict=True):
        assert torch.equal(ours.latents, theirs.latents), ours.span
        assert torch.equal(ours.embeddings, theirs.embeddings)
        assert [hit.handle.frame for hit in ours.hits] == [hit.handle.frame for hit in theirs.hits]
        assert [hit.score for hit in ours.hits] == [hit.score for hit in theirs.hits]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_rollout_has_the_bits_of_an_uninterrupted_one(tiny, method, dtype) -> None:
    tiny = tiny.variant(dtype=dtype)
    whole = tiny.run(method, BLOCKS, video="whole")
    begin(tiny, method, 8)
    resumed = resume(tiny, method)
    assert_same(resumed, whole)
    assert [block.replayed for block in resumed] == [True] * 8 + [False] * 3


@pytest.mark.parametrize(
    "kv",
    [KVConfig(mode="latent", device_frames=4), KVConfig(mode="bounded", host_bytes=16_000, device_frames=2)],
    ids=["latent", "bounded"],
)
def test_frames_that_are_re_created_are_so_again(tiny, kv) -> None:
    """What is in which tier decides how they are re-created: replaying moves them as they were moved."""
    config = replace(tiny.config("longlive_rag"), kv=kv)

    def blocks_by(history: History):
        args = tiny.model(), config, tiny.track(18), tiny.noise(18), tiny.encoder
        return rollout(*args, history)

    with tiny.history("whole") as history:
        whole = list(blocks_by(history))
    with tiny.history(KEY.video) as history:
        list(islice(blocks_by(history), 14))
    past = Past.taken_over(tiny.memory, KEY, 3)
    with History(tiny.memory, KEY, past.spec, past=past) as history:
        assert_same(list(blocks_by(history)), whole)
    assert sum(block.traffic.recreated for block in whole) > 0


@pytest.mark.parametrize("made", [0, 1, 6, 7, BLOCKS])
def test_wherever_it_was_interrupted(tiny, made) -> None:
    whole = tiny.run("longlive_rag", BLOCKS, video="whole")
    begin(tiny, "longlive_rag", made)
    assert_same(resume(tiny, "longlive_rag"), whole)


def test_a_rollout_can_be_resumed_again_and_again(tiny) -> None:
    """Each time begins an epoch; handles of the frames before stay those of theirs."""
    whole = tiny.run("longlive_rag", BLOCKS, video="whole")
    begin(tiny, "longlive_rag", 3)
    for made in (6, 9):
        past = Past.taken_over(tiny.memory, KEY, 3)
        with History(tiny.memory, KEY, past.spec, past=past) as history:
            list(islice(blocks_of(tiny, "longlive_rag", history), made))
    resumed = resume(tiny, "longlive_rag")
    assert_same(resumed, whole)
    assert len({hit.handle.epoch for hit in resumed[-1].hits}) > 1


def test_an_answer_that_was_lost_is_asked_for_again(tiny) -> None:
    """The process dies after the memory has the block, before it has the hits; each epoch logs its own."""
    begin(tiny, "longlive_rag", 7)
    (first, _), (second, lost) = ((e.epoch, e.length) for e in tiny.memory.retrievals(KEY))
    resume(tiny, "longlive_rag")
    later = [(entry.epoch, entry.length) for entry in tiny.memory.retrievals(KEY)][2:]
    assert first == second
    assert [length for _, length in later] == [lost, 24, 27, 30]
    assert {epoch for epoch, _ in later}.isdisjoint({first})


def test_only_passes_that_are_needed_are_done(tiny, monkeypatch) -> None:
    begin(tiny, "native", 8)
    model, passes = tiny.model(), []
    flow = type(model).flow
    monkeypatch.setattr(type(model), "flow", lambda *args: passes.append(1) or flow(*args))
    resume(tiny, "native")
    assert len(passes) == 8 * 1 + 3 * 5


def test_the_writer_that_was_given_up_is_fenced(tiny) -> None:
    with closing(tiny.history(KEY.video)) as zombie_history:
        zombie = blocks_of(tiny, "native", zombie_history)
        for _ in range(4):
            next(zombie)
        resumed = resume(tiny, "native")
        with pytest.raises(Fenced):
            next(zombie)
    stored = [tiny.memory.fetch([handle], [LATENT]) for handle in resumed_handles(tiny)]
    assert len(stored) == 3 * BLOCKS
    assert_same(resumed, tiny.run("native", BLOCKS, video="whole"))


def test_a_rollout_that_is_finished_is_replayed_whole(tiny) -> None:
    whole = tiny.run("longlive_rag", BLOCKS)
    resumed = resume(tiny, "longlive_rag")
    assert_same(resumed, whole)
    assert all(block.replayed for block in resumed)


def test_other_blocks_are_refused(tiny) -> None:
    begin(tiny, "native", 3)
    with pytest.raises(PlanError, match="9 frames; expected blocks of 4"):
        Past.taken_over(tiny.memory, KEY, 4)


def resumed_handles(tiny):
    past = Past.taken_over(tiny.memory, KEY, 3)
    return [past.handle(frame) for frame in range(past.length)]


@pytest.mark.parametrize("method", ["longlive_rag", "native", "relative", "infinity_rope"])
def test_a_replay_of_the_window_does_few_passes_and_goes_on(tiny, monkeypatch, method) -> None:
    whole = tiny.run(method, BLOCKS, video="whole")
    begin(tiny, method, 9)
    passed, flow = [], type(tiny.model()).flow
    monkeypatch.setattr(type(tiny.model()), "flow", lambda *args: passed.append(1) or flow(*args))
    resumed = resume(tiny, method, "window")
    in_window = 2 if method == "infinity_rope" else 4
    assert len(passed) <= 1 + in_window + 2 * 5 + 2 * 6, "sink, window, two new blocks, re-created frames"
    assert [block.replayed for block in resumed] == [True] * 9 + [False] * 2
    assert_same(resumed[:9], whole[:9])
    for ours, theirs in zip(resumed[9:], whole[9:], strict=True):
        assert ours.context.frames[: len(theirs.context.sink)] == theirs.context.sink
        assert [local.position for local in ours.context.local] == [p.position for p in theirs.context.local]
        assert torch.isfinite(ours.latents).all()
    assert not torch.equal(resumed[9].latents, whole[9].latents), "it is approximate"


def test_a_replay_of_a_window_that_holds_all_is_exact(tiny) -> None:
    """Four blocks of three in a window of twelve."""
    whole = tiny.run("native", 4, video="whole")
    with tiny.history(KEY.video) as history:
        list(islice(blocks_of(tiny, "native", history, 4), 3))
    assert_same(resume(tiny, "native", "window", 4), whole)


def test_compressed_tokens_are_replayed_exactly_or_not_at_all(tiny) -> None:
    begin(tiny, "deep_forcing", 8)
    with pytest.raises(ConfigError, match="can only be replayed exactly"):
        resume(tiny, "deep_forcing", "window")


def test_tokens_chosen_by_more_queries_than_a_replay_has_are_not_continued() -> None:
    policy = DeepForcing("deep_forcing", recent_frames=5)
    window = replace(policy.window(Window()), block_frames=2)
    following = policy.context(window, Span(30, 32))
    assert Replay.of("exact", 0, following).kept is None
    with pytest.raises(ConfigError, match="queries of 5 frames"):
        Replay.of("exact", 30, following)
