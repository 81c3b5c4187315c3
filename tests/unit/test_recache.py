"""Where another prompt begins: what the window's keys and values become, and what is retrieved after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import pytest
import torch
from tiny_rollouts import TINY, TinyRollouts
from torch import Tensor

from generator.block_sampler import BlockSampler
from generator.configs import Window
from generator.course import Course
from generator.errors import ConfigError
from generator.history.history import History
from generator.history.past import Past
from generator.kv.host_tier import HostTier
from generator.methods import POLICIES
from generator.methods.context import Scenes
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from generator.story.searching import Search
from generator.story.switching import Switching
from generator.story.text import PromptTrack
from generator.wan.kv_shape import KEY, VALUE
from memory_service.types import Handle, Hit, Query, Span, VideoKey

BLOCKS = 12


@dataclass
class Switched(TinyRollouts):
    """Rollouts with another prompt from block `at` on; with `same` it is the same prompt again."""

    at: int = 6
    same: bool = False
    switching: Switching = field(default_factory=Switching)

    def track(self, blocks: int) -> PromptTrack:
        embeds = torch.randn(2, 5, TINY["text_dim"], generator=torch.Generator().manual_seed(1))
        later = 0 if self.same else 1
        return PromptTrack(
            embeds=embeds,
            rows=tuple(later if block >= self.at else 0 for block in range(blocks)),
            scenes=Scenes(switches=frozenset([self.at])),
        )

    def config(self, method: str) -> RolloutConfig:
        config = super().config(method)
        return RolloutConfig(
            policy=config.policy,
            geometry=config.geometry,
            window=config.window,
            sampling=config.sampling,
            switching=self.switching,
        )


@dataclass
class Recaching:
    """The window's keys and values before and after it was recached."""

    before: dict[int, Tensor]
    after: dict[int, Tensor]

    def error(self, frame: int, layer: int) -> float:
        """Largest change of a frame's keys and values in a layer, relative to their own size."""
        was, now = self.before[frame][layer], self.after[frame][layer]
        return ((now - was).abs().max() / was.abs().max()).item()


@pytest.fixture
def switched(memory) -> Switched:
    return Switched(memory)


@pytest.fixture
def recachings(monkeypatch) -> Iterator[list[Recaching]]:
    """Every recaching of every rollout."""
    made: list[Recaching] = []
    recache_window = BlockSampler.recache_window

    def window_of(sampler: BlockSampler) -> dict[int, Tensor]:
        return {frame: sampler.cache.slab(frame).clone() for frame in sampler.cache.frames}

    def recache(sampler: BlockSampler, *args) -> None:
        before = window_of(sampler)
        recache_window(sampler, *args)
        made.append(Recaching(before, window_of(sampler)))

    monkeypatch.setattr(BlockSampler, "recache_window", recache)
    return made


def differing(a: list[RolledBlock], b: list[RolledBlock]) -> list[int]:
    """Blocks whose latents are not the same bits."""
    return [x.index for x, y in zip(a, b, strict=True) if not torch.equal(x.latents, y.latents)]


@pytest.mark.parametrize("method", ["native", "relative", "longlive_rag", "deep_sink", "deep_forcing"])
def test_with_the_same_prompt_and_nothing_evicted_keys_and_values_come_back(
    switched, recachings, method
) -> None:
    """All contexts are whole: what differs is the order of sums."""
    switched.variant(same=True, at=3, switching=Switching(at_switch="recache", recache_sink=True)).run(
        method, 4
    )
    (recaching,) = recachings
    assert sorted(recaching.after) == list(range(9))
    errors = [recaching.error(frame, layer) for frame in recaching.after for layer in range(2)]
    assert max(errors) < 1e-5


def test_with_the_same_prompt_what_left_the_window_is_missing(switched, recachings) -> None:
    """Layer 0 depends on a frame's own latents alone; above it, blocks miss what they had attended."""
    switched.variant(same=True).run("native", 7)
    (recaching,) = recachings
    frames = [frame for frame in recaching.after if frame > 0]
    assert frames == list(range(7, 18))
    assert max(recaching.error(frame, 0) for frame in frames) < 1e-6
    assert min(recaching.error(frame, 1) for frame in range(7, 15)) > 1e-4
    assert max(recaching.error(frame, 1) for frame in range(15, 18)) < 1e-6, "it attended 0 and 7 to 14"
    assert recaching.error(0, 0) == recaching.error(0, 1) == 0, "the sink stays"


@pytest.mark.parametrize("method", ["native", "relative", "longlive_rag"])
def test_another_prompt_changes_every_frame_of_the_window_but_the_sink(switched, recachings, method) -> None:
    switched.run(method, 7)
    (recaching,) = recachings
    changed = [frame for frame in recaching.after if recaching.error(frame, 1) > 1e-3]
    assert changed == list(range(7, 18))
    assert recaching.error(0, 1) == 0


def test_the_sink_is_recached_where_that_is_asked_for(switched, recachings) -> None:
    switched.variant(window=Window(sink_frames=3), switching=Switching(recache_sink=True)).run("native", 7)
    (recaching,) = recachings
    assert all(recaching.error(frame, 1) > 1e-3 for frame in (0, 1, 2))
    assert sorted(recaching.after) == [0, 1, 2, *range(9, 18)]


def test_a_recached_block_attends_recached_frames(switched, recachings) -> None:
    """By hand, densely: each block of the window under the new prompt, over what is recached already."""
    switched = switched.variant(at=3)
    blocks = switched.run("native", 4)
    (recaching,) = recachings
    track, config = switched.track(4), switched.config("native")
    track = PromptTrack(embeds=track.embeds[1:], rows=(0,) * 4)
    with switched.history("by-hand") as history, torch.inference_mode():
        sampler = BlockSampler(switched.model(), Course(config, track.scenes, 4), track, history)
        for block in blocks[:3]:
            sampler.attend(block.index, block.context)
            sampler.recache(block.latents)
            if block.index == 0:  # the sink was not recached
                sampler.cache.slab(0).copy_(recaching.before[0])
    for frame in range(1, 9):
        torch.testing.assert_close(sampler.cache.slab(frame), recaching.after[frame], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", [name for name in POLICIES if not name.startswith("infinity")])
def test_the_next_block_changes_and_none_before_it(switched, method) -> None:
    made = {
        how: switched.variant(switching=Switching(at_switch=how)).run(method, BLOCKS, video=how)
        for how in ("recache", "keep")
    }
    assert differing(made["recache"], made["keep"]) == list(range(6, BLOCKS))


def test_each_method_does_at_a_switch_what_its_released_code_does(switched, recachings) -> None:
    recaching = {"native", "relative", "longlive_rag", "local_only", "newest_memory", "random_memory"}
    for method in POLICIES:
        recachings.clear()
        switched.run(method, 8, video=method)
        assert len(recachings) == (method in recaching), method


def test_infinity_rope_flushes_or_keeps(switched) -> None:
    """With its own window of 6 the sink and two frames are all that there is, flushed or not."""
    policy, scenes = POLICIES["infinity_rope"], Scenes(switches=frozenset([6]), cuts=frozenset([6]))
    attended = {}
    for how in ("flush", "keep"):
        told = Switching(at_switch=how).scenes(policy, scenes)
        context = policy.context(Window(top_k=0), Span(18, 21), told)
        attended[how] = [placed.source for placed in context.frames]
        assert context.query_positions == (45, 46, 47), "a cut is a cut"
    assert attended == {"flush": [0, 16, 17], "keep": [0, *range(10, 18)]}
    made = {
        how: switched.variant(switching=Switching(at_switch=how)).run("infinity_rope", 8, video=how)
        for how in ("flush", "keep")
    }
    assert differing(made["flush"], made["keep"]) == []
    with pytest.raises(ConfigError, match="infinity_rope can flush or keep its window at a switch"):
        switched.variant(switching=Switching(at_switch="recache")).run("infinity_rope", 8, video="c")


def test_captions_that_change_are_no_switch(switched, recachings) -> None:
    track = switched.track(8)
    switched.track = lambda _: PromptTrack(embeds=track.embeds, rows=track.rows)
    switched.run("native", 8)
    assert recachings == []


def test_kept_history_is_retrieved_over_the_switch_and_cleared_history_is_not(switched) -> None:
    kept = switched.run("longlive_rag", BLOCKS + 4, video="keep")
    clear = switched.variant(switching=Switching(old_history="clear")).run(
        "longlive_rag", BLOCKS + 4, video="clear"
    )
    first = 3 * switched.at
    old = {hit.handle.frame for block in kept[switched.at :] for hit in block.hits}
    assert min(old) < first
    new = [[hit.handle.frame for hit in block.hits] for block in clear]
    assert all(frame >= first for frames in new[switched.at :] for frame in frames)
    assert new[switched.at : 12] == [[]] * 6, "nothing of the scene has been evicted, less the guard"
    assert new[12] != []
    assert all(block.context.sink[0].source == 0 for block in clear[1:])


@pytest.mark.parametrize("method", ["newest_memory", "random_memory"])
def test_controls_clear_old_history_too(switched, method) -> None:
    switched = switched.variant(switching=Switching(old_history="clear"))
    blocks = switched.run(method, BLOCKS + 4)
    frames = [[placed.source.frame for placed in block.context.retrieved] for block in blocks]
    assert all(frame >= 18 for block in frames[6:] for frame in block)
    assert len(frames[5]) == 0
    assert len(frames[-1]) == 6


def test_faded_history_is_the_best_of_all_frames_by_weighted_score(switched, memory) -> None:
    """Against the definition: every eligible frame's score, weighted, sorted."""
    fade = 0.6
    blocks = switched.variant(switching=Switching(old_history="fade", fade=fade)).run(
        "longlive_rag", BLOCKS + 4, video="fade"
    )
    key, mixed = VideoKey("tiny", "fade"), 0
    policy, window = POLICIES["longlive_rag"], switched.window
    for block in blocks[switched.at :]:
        query = policy.query(window, block.span)
        asked = Query(k=len(query.eligible), eligible=query.eligible, frame=block.span.start - 1)
        (hits,) = memory.search(key, [asked], log=False).hits
        count = {hit.handle: (fade if hit.handle.frame < 18 else 1) * (1 + hit.score) - 1 for hit in hits}
        best = sorted(hits, key=lambda hit: (-count[hit.handle], hit.handle.frame))[:6]
        assert [hit.handle for hit in block.hits] == [hit.handle for hit in best], block.index
        assert [hit.score for hit in block.hits] == pytest.approx([hit.score for hit in best])
        mixed += 0 < sum(hit.handle.frame < 18 for hit in best) < 6
    assert mixed > 0
    logged = [entry.eligible for entry in memory.retrievals(key) if entry.length == 45]
    assert logged == [Span(18, 29), Span(1, 18)]


def test_weights_fall_with_every_switch() -> None:
    scenes = Scenes(switches=frozenset([0, 4, 8]))
    switching = Switching(old_history="fade", fade=0.5)
    search = switching.search(POLICIES["longlive_rag"], Window(), Span(60, 63), scenes)
    assert search.query.eligible == Span(24, 44)
    assert [query.eligible for query in search.older] == [Span(1, 12), Span(12, 24)]
    assert search.weights == (0.25, 0.5)


def test_equal_counts_go_to_the_older_frame() -> None:
    hits = [Hit(Handle(VideoKey("p", "v"), 1, frame), 0.0) for frame in (9, 3)]
    query = Query(k=1, eligible=Span(0, 10))
    search = Search(query, (query,), (1.0,))
    assert search.best([hits[:1], hits[1:]]) == (hits[1],)


def test_fading_needs_scores(switched) -> None:
    switched = switched.variant(switching=Switching(old_history="fade"))
    with pytest.raises(ConfigError, match="newest_memory retrieves without any"):
        switched.run("newest_memory", 3)
    assert len(switched.run("native", 3, video="b")) == 3


@pytest.mark.parametrize("wrong", [{"old_history": "forget"}, {"fade": 1.0}, {"fade": 0.0}])
def test_a_choice_that_there_is_not_is_refused(wrong) -> None:
    with pytest.raises(ConfigError):
        Switching(**wrong)


def test_host_copies_stay_as_they_were(switched, memory, recachings) -> None:
    """What was evicted before the switch keeps the keys and values of its own prompt."""

    def kept(video: str, host: HostTier, frame: int) -> Tensor:
        key = VideoKey("tiny", video)
        return host.get(Handle(key, memory.get_video(key).state.epoch, frame))

    plain, turned = HostTier(), HostTier()
    switched.variant(at=BLOCKS).run("longlive_rag", 8, video="a", host=plain)
    switched.run("longlive_rag", 8, video="b", host=turned)
    for frame in range(1, 7):
        assert torch.equal(kept("a", plain, frame), kept("b", turned, frame))
    taken_along = kept("b", turned, 7)
    assert torch.equal(taken_along, recachings[0].after[7])
    for part in (KEY, VALUE):
        assert not torch.equal(taken_along[1, part], recachings[0].before[7][1, part])


@pytest.mark.parametrize("made", [5, 6, 7, 9])
@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("native", Switching()),
        ("longlive_rag", Switching(old_history="fade", recache_sink=True)),
        ("infinity_rope", Switching()),
        ("deep_forcing", Switching(at_switch="recache")),
    ],
)
def test_a_rollout_is_resumed_over_a_switch_with_the_same_bits(
    switched, memory, method, chosen, made
) -> None:
    """Deep Forcing compresses at the switch, by queries of the window's blocks under the new prompt."""
    switched = switched.variant(switching=chosen, at=7 if method == "deep_forcing" else 6)
    whole = switched.run(method, BLOCKS, video="whole")
    key = VideoKey("tiny", "video")
    with switched.history(key.video) as history:
        list(islice(rolled(switched, method, history), made))
    past = Past.taken_over(memory, key, switched.window.block_frames)
    with History(memory, key, past.spec, past=past) as history:
        resumed = list(rolled(switched, method, history))
    assert [block.replayed for block in resumed] == [True] * made + [False] * (BLOCKS - made)
    assert differing(resumed, whole) == []


def rolled(switched: Switched, method: str, history: History) -> Iterator[RolledBlock]:
    track, noise = switched.track(BLOCKS), switched.noise(BLOCKS)
    return rollout(switched.model(), switched.config(method), track, noise, switched.encoder, history)
