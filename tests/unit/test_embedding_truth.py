"""Which frames may be retrieved, and what the camera's true places say of them."""

import numpy as np
import pytest

from encoder.evaluation.views import Views
from encoder.evaluation.window import Window
from generator.configs import Window as RolloutWindow
from generator.methods.retrieving import Retrieving, eligible
from memory_service.types import Handle, Span, VideoKey

THERE_AND_BACK = np.array([*range(30), *range(28, -1, -1)])
"""The camera pans over 30 cells and returns: frame f and frame 58 - f stand in one place."""


@pytest.fixture
def views() -> Views:
    return Views(THERE_AND_BACK, view_cells=8)


@pytest.mark.parametrize(
    "budget",
    [{}, {"window_frames": 15, "sink_frames": 3}, {"sink_frames": 0, "guard_frames": 0, "top_k": 2}],
)
def test_every_step_is_what_a_rollout_would_search_and_attend(budget: dict[str, int]) -> None:
    window, rollout = Window(**budget), RolloutWindow(**budget)
    policy = Retrieving("longlive_rag", "search")
    for start in range(0, 90, 3):
        step, span = window.step(start), Span(start, start + 3)
        allowed = eligible(rollout, span)
        handles = [Handle(VideoKey("pool", "video"), 0, frame) for frame in step.eligible[: window.top_k]]
        context = policy.context(rollout, span, retrieved=handles)
        assert (step.eligible.start, step.eligible.stop) == (allowed.start, allowed.stop)
        assert list(step.shown) == [placed.source for placed in (*context.sink, *context.local)]
        assert step.query == start - 1


def test_steps_are_whole_blocks_with_something_to_retrieve() -> None:
    steps = list(Window().steps(25))
    assert [(step.block, step.eligible) for step in steps] == [
        (range(18, 21), range(1, 2)),
        (range(21, 24), range(1, 5)),
    ]


@pytest.mark.parametrize("budget", [{"top_k": 0}, {"guard_frames": -1}, {"window_frames": 9}])
def test_a_window_that_cannot_be_is_refused(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"top_k|window_frames"):
        Window(**budget)


def test_same_place_is_half_a_view_or_more(views: Views) -> None:
    assert views.same_place(20, range(30)) == frozenset(range(16, 25))
    np.testing.assert_allclose(views.overlap(20, [20, 22, 24, 28, 29]), [1, 0.75, 0.5, 0, 0])


def test_a_return_is_a_place_that_had_left_the_view(views: Views) -> None:
    early = range(1, 20)
    assert views.is_return(48, early), "place 10, seen in frames 6 to 14, out of view around frame 29"
    assert not views.is_return(33, early), "place 25: its nearest eligible frame stands at 19"
    assert not views.is_return(29, range(20, 29)), "seen before, but never out of view"
    assert not views.is_return(31, range(1, 28)), "place 27 turned back before it had left the view"


def test_needed_columns_are_new_to_the_context_and_known_to_the_past(views: Views) -> None:
    panning_on, back = Window().step(24), Window().step(48)
    assert not views.needed(panning_on).any(), "what was never seen is no memory's business"
    assert views.covered(panning_on, [1]) is None
    # Block 48..50 stands at 10, 9, 8; the local frames at 12 and 11 show columns 11 to 19.
    assert np.flatnonzero(views.needed(back)).tolist() == [8, 9, 10]
    assert views.covered(back, []) == 0
    assert views.covered(back, [11]) == 0
    assert views.covered(back, [10]) == pytest.approx(1 / 3)
    assert views.covered(back, [1, 10, 9]) == 1, "frame 1 shows columns 1 to 8"
    assert views.covered(back, [8]) == 1


def test_places_below_zero_are_places(views: Views) -> None:
    shifted = Views(THERE_AND_BACK - 100, view_cells=8)
    np.testing.assert_array_equal(shifted.columns, views.columns)


@pytest.mark.parametrize(("places", "view_cells"), [(np.zeros(3, np.int64), 0), (np.zeros(0, np.int64), 8)])
def test_views_that_cannot_be_are_refused(places: np.ndarray, view_cells: int) -> None:
    with pytest.raises(ValueError, match="view_cells"):
        Views(places, view_cells)
