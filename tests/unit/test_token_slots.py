"""Tokens that stand for compressed frames: how they are chosen, and where in time they are put."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from generator.configs import Geometry, Window
from generator.kv.kv_cache import KVCache
from generator.kv.token_slots import Tokens, TokenSlots, best, scores
from generator.methods.context import Context, block_spans
from generator.methods.deep_forcing import DeepForcing
from generator.wan.kv_shape import KVShape
from generator.wan.rope import FloatRotation, phases, rotate
from memory_service.types import Handle, Span, VideoKey

GEOMETRY = Geometry(height=4, width=4)
F = GEOMETRY.tokens_per_frame
SHAPE = KVShape(
    layers=2, tokens_per_frame=F, heads=2, head_dim=12, dtype=torch.float32, device=torch.device("cpu")
)


def test_scores_are_sums_over_heads_and_queries_without_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(7, 2, 12, generator=generator)
    keys = torch.randn(5, 2, 12, generator=generator)
    expected = torch.einsum("qhd,thd->t", queries, keys) / (12**0.5 * 2)
    torch.testing.assert_close(scores(queries.sum(0), keys), expected)


def test_the_best_keep_their_order_in_time() -> None:
    uses = torch.tensor([0, 0, 7, 0, 6])
    ranked = torch.tensor([1.0, 5.0, 9.0, 3.0, 4.0])
    assert best(ranked, 2, uses, None).tolist() == [1, 2]
    assert best(ranked, 2, uses, 7).tolist() == [1, 4]


def test_tokens_that_were_chosen_too_often_leave_fewer() -> None:
    uses = torch.tensor([7, 7, 0])
    assert best(torch.tensor([3.0, 2.0, 1.0]), 2, uses, 7).tolist() == [2]


@dataclass
class Rolled:
    """Blocks of random keys and queries; `chosen`: per block, what each layer had chosen after it."""

    slots: TokenSlots
    context: Context
    chosen: list[list[Tokens | None]]


def rolled(policy: DeepForcing, num_blocks: int) -> Rolled:
    window = policy.window(Window())
    generator = torch.Generator().manual_seed(num_blocks)
    cache = KVCache(SHAPE, None, lambda frame: Handle(VideoKey("p", "v"), 1, frame))
    spans = list(block_spans(num_blocks, window))
    compression = policy.context(window, spans[0]).compression
    assert compression is not None
    slots = TokenSlots(cache, GEOMETRY, window, FloatRotation(), compression)
    chosen = []
    for span in spans:
        context = policy.context(window, span)
        slots.load(context)
        for attended in (slots.attended(()), slots.recached(())):
            for layer in range(SHAPE.layers):
                attended.exchange(layer, *torch.randn(3, 1, 3 * F, 2, 12, generator=generator))
        chosen.append(list(slots.chosen))
    return Rolled(slots, context, chosen)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("num_blocks", [8, 9, 10, 14])
def test_chosen_tokens_stand_before_the_block_at_their_positions(paper: bool, num_blocks: int) -> None:
    made = rolled(DeepForcing("deep_forcing", paper=paper), num_blocks)
    assert made.context.compression is not None
    frames_whole = len(made.context.frames) + len(made.context.span)
    for layer, chosen in enumerate(made.chosen[-1]):
        assert chosen is not None
        assert len(chosen.uses) == 2 * F
        keys, values = made.slots.with_chosen(layer)
        assert len(keys) == (2 + frames_whole) * F
        times = chosen.frames.tolist()
        if paper:
            times = [time for time in made.context.compression.positions for _ in range(F)]
        for index, (time, place) in enumerate(zip(times, chosen.places.tolist(), strict=True)):
            turn = [part[place : place + 1] for part in phases(torch.tensor([time]), 2, 2, 12)]
            turned = rotate(chosen.keys[index][None, None], *turn)[0, 0]
            torch.testing.assert_close(keys[index], turned)
        assert torch.equal(values[: 2 * F], chosen.values)
        assert torch.equal(chosen.frames, chosen.frames.sort().values)
        assert int(chosen.frames.max()) < made.context.local[0].source


@pytest.mark.parametrize("limit", [1, 2])
def test_a_token_is_chosen_as_often_as_it_may_be(limit: int) -> None:
    made = rolled(DeepForcing("deep_forcing", reuse_limit=limit), 24)
    compressions = [after for before, after in itertools.pairwise(made.chosen) if before[0] is not after[0]]
    assert len(compressions) == 9
    for layer in range(SHAPE.layers):
        times: Counter[tuple[int, int]] = Counter()
        for event in compressions:
            tokens = event[layer]
            assert tokens is not None
            names = list(zip(tokens.frames.tolist(), tokens.places.tolist(), strict=True))
            times.update(names)
            assert [times[name] for name in names] == tokens.uses.tolist()
        assert max(times.values()) == limit


def test_the_limit_is_that_of_the_released_code() -> None:
    def limit_of(policy: DeepForcing) -> int | None:
        compression = policy.context(policy.window(Window()), Span(0, 3)).compression
        assert compression is not None
        return compression.reuse_limit

    assert limit_of(DeepForcing("d")) == 7
    assert limit_of(DeepForcing("d", paper=True)) is None
