"""Contexts of training clips against the table of LongLive-RAG's trace (frames and positions)."""

import numpy as np
import pytest

from generator.configs import Window
from generator.methods.context import Span, eligible
from generator.toy.context import LOCAL, NOT_ELIGIBLE, choose_retrieved, layout
from generator.toy.prompts import BLOCK_FRAMES

NONE = np.zeros(0, int)


@pytest.mark.parametrize(
    ("start", "frames", "positions", "block"),
    [
        (0, [], [], [0, 1, 2]),
        (3, [0, 1, 2], [0, 1, 2], [3, 4, 5]),
        (6, [0, 4, 5], [0, 4, 5], [6, 7, 8]),
        (9, [0, 7, 8], [0, 7, 8], [9, 10, 11]),
        (12, [0, 10, 11], [0, 7, 8], [9, 10, 11]),
        (120, [0, 118, 119], [0, 7, 8], [9, 10, 11]),
    ],
)
def test_longlive_rag_before_retrieval(start, frames, positions, block):
    spot = layout("longlive_rag", start, NONE)
    assert spot.frames.tolist() == frames
    assert spot.positions.tolist() == positions
    assert spot.block_positions.tolist() == block


def test_retrieved_frames_stand_at_zero_between_sink_and_past():
    spot = layout("longlive_rag", 30, np.array([4, 9, 2]))
    assert spot.frames.tolist() == [0, 4, 9, 2, 28, 29]
    assert spot.positions.tolist() == [0, 0, 0, 0, 7, 8]


def test_relative_uses_slots_and_native_true_frames():
    relative, native = layout("relative", 30, NONE), layout("native", 30, NONE, gap=100)
    assert relative.frames.tolist() == native.frames.tolist() == [0, *range(22, 30)]
    assert relative.positions.tolist() == [0, *range(1, 9)]
    assert relative.block_positions.tolist() == [9, 10, 11]
    assert native.positions.tolist() == [0, *range(122, 130)]
    assert native.block_positions.tolist() == [130, 131, 132]


@pytest.mark.parametrize("method", ["longlive_rag", "relative", "native"])
def test_the_first_block_sees_nothing(method):
    assert layout(method, 0, NONE).frames.size == 0


def test_retrieved_frames_are_old_distinct_and_at_most_six():
    rng = np.random.default_rng(0)
    cells = np.concatenate([np.arange(24), np.arange(24)[::-1]])
    for _ in range(200):
        start = 3 * int(rng.integers(1, 16))
        chosen = choose_retrieved(cells, start, rng)
        assert len(set(chosen.tolist())) == len(chosen) <= 6
        assert all(0 < frame < start - LOCAL for frame in chosen)


def test_a_place_is_recalled_from_one_direction_alone_when_only_early_frames_are_known():
    """Right, left and right again: what is near was passed both ways, and first to the right."""
    cells = np.concatenate([np.arange(20), np.arange(19, -1, -1), np.arange(8)])
    rng = np.random.default_rng(0)

    def share_of_first_pass(early_share: float) -> float:
        draws = [choose_retrieved(cells, 45, rng, early_share=early_share) for _ in range(400)]
        near = [
            frames for frames in draws if len(frames) == 6 and np.abs(cells[frames] - cells[44]).max() < 8
        ]
        return float(np.mean([frames.max() < 20 for frames in near]))

    assert share_of_first_pass(0.0) < 0.1 < 0.2 < share_of_first_pass(1.0)


def test_of_earlier_moves_only_those_in_the_coming_direction_are_recalled_where_there_are_any():
    cells = np.concatenate([np.arange(20), np.arange(19, -1, -1), np.arange(8)])
    rng = np.random.default_rng(0)
    going_right = [choose_retrieved(cells, 45, rng, same_way_share=1.0) for _ in range(50)]
    assert all(frames.max() < 20 for frames in going_right if len(frames))
    assert max(len(frames) for frames in going_right) == 6
    for_the_first_time_left = [choose_retrieved(cells, 33, rng, same_way_share=1.0) for _ in range(50)]
    assert any(len(frames) == 6 for frames in for_the_first_time_left)


def test_same_way_share_leaves_holds_alone():
    cells = np.concatenate([np.zeros(12, int), np.arange(1, 13), np.full(24, 12)])
    for seed in range(50):
        chosen = choose_retrieved(cells, 30, np.random.default_rng(seed), same_way_share=1.0)
        usual = choose_retrieved(cells, 30, np.random.default_rng(seed))
        assert chosen.tolist() == usual.tolist()


def test_what_looks_alike_is_retrieved_wherever_it_is():
    """Frame 4 looks like the last one, and is far from it; nothing else does."""
    cells = np.arange(48)
    alike = np.zeros((48, 48))
    alike[:, 4] = 1.0
    rng = np.random.default_rng(0)
    draws = [choose_retrieved(cells, 45, rng, alike, alike_share=1.0) for _ in range(50)]
    assert all(frames[0] == 4 for frames in draws if len(frames) > 1)
    assert sum(len(set(frames.tolist())) == 6 for frames in draws) > 30
    near = [choose_retrieved(cells, 45, rng, alike, alike_share=0.0) for _ in range(50)]
    assert np.mean([4 in frames for frames in near]) < 0.5


@pytest.mark.parametrize(("guard_share", "newest"), [(0.0, LOCAL), (1.0, NOT_ELIGIBLE)])
def test_a_guard_keeps_what_rollouts_keep_from_retrieval(guard_share, newest):
    cells, rng = np.arange(48), np.random.default_rng(0)
    chosen = [choose_retrieved(cells, 45, rng, guard_share=guard_share) for _ in range(100)]
    assert np.concatenate(chosen).max() == 44 - newest


def test_a_share_of_the_blocks_keeps_the_newest_frames_out():
    cells, rng = np.arange(48), np.random.default_rng(0)
    newest = [choose_retrieved(cells, 45, rng, guard_share=0.25).max(initial=0) for _ in range(400)]
    assert 0.6 < np.mean(np.array(newest) > 45 - NOT_ELIGIBLE) < 0.8


@pytest.mark.parametrize("start", range(0, 48, BLOCK_FRAMES))
def test_what_clips_may_retrieve_is_what_rollouts_may(start):
    span = eligible(Window(block_frames=BLOCK_FRAMES), Span(start, start + BLOCK_FRAMES))
    cells, rng = np.arange(48), np.random.default_rng(0)
    chosen = np.concatenate([choose_retrieved(cells, start, rng, guard_share=1.0) for _ in range(200)])
    assert set(chosen) == set(range(span.start, span.stop))
