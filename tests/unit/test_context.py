"""Attended frames and positions against the traces of the reference, and what holds for every window."""

from __future__ import annotations

import itertools

import pytest

from generator.configs import Window
from generator.errors import ConfigError
from generator.methods import POLICIES, policy_named
from generator.methods.context import Context, Policy, block_spans, eligible
from generator.options.groups import METHODS
from memory_service.types import Handle, Span, VideoKey

NATIVE, RELATIVE, RAG = (POLICIES[name] for name in ("native", "relative", "longlive_rag"))
WINDOW = Window()


def hits(frames: int) -> list[Handle]:
    return [Handle(VideoKey("p", "v"), 1, frame) for frame in range(1, frames + 1)]


def context(policy: Policy, start: int, retrieved: int = 0, window: Window = WINDOW) -> Context:
    return policy.context(window, Span(start, start + window.block_frames), retrieved=hits(retrieved))


def frames(context: Context) -> list[int]:
    return [placed.source for placed in context.sink + context.local]


def positions(context: Context) -> list[int]:
    return [placed.position for placed in context.sink + context.local]


@pytest.mark.parametrize(
    ("start", "past"),
    [
        (0, []),
        (3, [0, 1, 2]),
        (9, list(range(9))),
        (12, [0, *range(4, 12)]),
        (117, [0, *range(109, 117)]),
    ],
)
def test_native_attends_the_window_at_absolute_positions(start: int, past: list[int]) -> None:
    made = context(NATIVE, start)
    assert frames(made) == past
    assert positions(made) == past
    assert made.query_positions == (start, start + 1, start + 2)


@pytest.mark.parametrize(
    ("start", "past", "slots", "block"),
    [
        (3, [0, 1, 2], [0, 1, 2], (3, 4, 5)),
        (9, list(range(9)), list(range(9)), (9, 10, 11)),
        (12, [0, *range(4, 12)], list(range(9)), (9, 10, 11)),
        (117, [0, *range(109, 117)], list(range(9)), (9, 10, 11)),
    ],
)
def test_relative_attends_the_same_frames_by_slot(
    start: int, past: list[int], slots: list[int], block: tuple[int, ...]
) -> None:
    made = context(RELATIVE, start)
    assert frames(made) == past
    assert positions(made) == slots
    assert made.query_positions == block


@pytest.mark.parametrize(
    ("start", "past", "slots", "block", "retrieved", "may_return"),
    [
        (0, [], [], (0, 1, 2), 0, range(0)),
        (3, [0, 1, 2], [0, 1, 2], (3, 4, 5), 0, range(0)),
        (6, [0, 4, 5], [0, 4, 5], (6, 7, 8), 0, range(0)),
        (9, [0, 7, 8], [0, 7, 8], (9, 10, 11), 0, range(0)),
        (12, [0, 10, 11], [0, 7, 8], (9, 10, 11), 0, range(0)),
        (15, [0, 13, 14], [0, 7, 8], (9, 10, 11), 0, range(0)),
        (18, [0, 16, 17], [0, 7, 8], (9, 10, 11), 1, range(1, 2)),
        (21, [0, 19, 20], [0, 7, 8], (9, 10, 11), 4, range(1, 5)),
        (24, [0, 22, 23], [0, 7, 8], (9, 10, 11), 6, range(1, 8)),
        (120, [0, 118, 119], [0, 7, 8], (9, 10, 11), 6, range(1, 104)),
    ],
)
def test_rag_matches_the_instrumented_trace(
    start: int, past: list[int], slots: list[int], block: tuple[int, ...], retrieved: int, may_return: range
) -> None:
    made = context(RAG, start, retrieved)
    assert frames(made) == past
    assert positions(made) == slots
    assert made.query_positions == block
    assert [placed.position for placed in made.retrieved] == [0] * retrieved
    span = eligible(WINDOW, made.span)
    assert range(span.start, span.stop) == may_return or not span
    assert min(WINDOW.top_k, len(span)) == retrieved


def test_nothing_is_searched_where_nothing_is_eligible() -> None:
    assert RAG.query(WINDOW, Span(15, 18)) is None
    query = RAG.query(WINDOW, Span(18, 21))
    assert (query.k, query.eligible) == (6, Span(1, 2))
    assert RELATIVE.query(WINDOW, Span(120, 123)) is None


def windows() -> list[Window]:
    made = []
    for w, s, k, r, n in itertools.product((6, 9, 10, 12, 21), (0, 1, 2, 3), (0, 2, 6), (0, 1, 5), (1, 3)):
        if s + k + n <= w:
            made.append(Window(window_frames=w, sink_frames=s, top_k=k, guard_frames=r, block_frames=n))
    return made


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_window(policy: Policy) -> None:
    """Nothing is attended that is not in the window, and nothing is eligible that has not left it."""
    for window in (
        windows() if policy.window(WINDOW).window_frames == WINDOW.window_frames else [policy.window(WINDOW)]
    ):
        kept: set[int] = set()
        evicted: set[int] = set()
        for span in block_spans(20, window):
            may_return = eligible(window, span)
            chosen = policy.chosen(window, span)
            assert set(chosen) <= set(range(may_return.start, may_return.stop))
            retrieved = min(window.top_k, len(may_return)) if policy.retrieves else 0
            made = context(policy, span.start, retrieved, window)
            gone = kept - made.kept
            evicted, kept = evicted | gone, kept - gone
            assert not policy.retrieves or set(range(may_return.start, may_return.stop)) <= evicted
            kept |= set(range(span.start, span.stop))

            assert set(frames(made)) <= kept
            assert len(set(frames(made))) == len(frames(made))
            assert len(made.frames) + len(span) <= window.window_frames
            past_positions = positions(made)
            assert past_positions == sorted(set(past_positions))
            assert all(0 <= p < made.query_positions[0] for p in past_positions)


def test_positions_of_native_and_relative_agree_until_the_window_is_full() -> None:
    for start in (0, 3, 6, 9):
        assert context(NATIVE, start) == context(RELATIVE, start)
    assert positions(context(NATIVE, 12)) != positions(context(RELATIVE, 12))


def test_without_retrieved_frames_rag_is_the_relative_window() -> None:
    window = Window(top_k=0)
    for start in range(0, 60, 3):
        assert context(RAG, start, window=window) == context(RELATIVE, start, window=window)


def test_a_window_that_leaves_no_room_for_the_block_is_refused() -> None:
    with pytest.raises(ConfigError, match="could not attend to itself"):
        Window(window_frames=3, sink_frames=1, top_k=0)
    with pytest.raises(ConfigError, match="negative"):
        Window(guard_frames=-1)


def test_more_hits_than_the_budget_are_refused() -> None:
    with pytest.raises(ConfigError, match="budget"):
        context(RAG, 30, retrieved=7)
    with pytest.raises(ConfigError, match="native got 1"):
        context(NATIVE, 30, retrieved=1)


def test_unknown_methods_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="longlive_rag"):
        policy_named("longlive")


def test_the_command_line_knows_every_method() -> None:
    assert tuple(POLICIES) == METHODS
