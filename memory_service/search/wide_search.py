"""Searching several videos, or all of a pool, as if they were one.

Each video is searched under its own lock, one after the other: no writer waits for longer than its own video
takes. Scores do not depend on where a frame lies, and a minimum gap holds within a video, so the best of all
are the best of each, merged. Only maximal marginal relevance looks across videos: it is done on a copy of the
candidates' embeddings.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from memory_service import cancellation
from memory_service.errors import InvalidArgument, NotFound, TooLarge
from memory_service.index.flat import FlatIndex
from memory_service.limits import Limits
from memory_service.search.asks import Ask
from memory_service.search.candidates import CandidateSet, estimated
from memory_service.search.policy import Apart, best_unlike
from memory_service.search.recall import Pooled, Share
from memory_service.types import Found, Hit, Query, Scope, Span, VideoKey, VideoSpec
from memory_service.video import Video
from memory_service.videos import Videos

_WHOLE = Span(0, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class _Target:
    """A video to search; `eligible` None is the query's span. `field` names it, empty for a pool's."""

    key: VideoKey
    eligible: Span | None
    field: str = ""


def search_wide(
    videos: Videos, home: Video, queries: Sequence[Query], scope: Scope, limits: Limits, *, log: bool
) -> Found:
    """Hits of each query in all videos of the scope; equal scores by pool, video and frame.

    `home` is the video that was asked and logs it. Raises NotFound, InvalidArgument for a video of the scope
    that does not fit `home`, TooLarge, Cancelled, DeadlineExceeded.
    """
    started = time.perf_counter()
    state, asks = home.asks(queries)
    shares: list[list[Share]] = [[] for _ in asks]
    merged = [i for i, ask in enumerate(asks) if ask.mmr_lambda is None]

    def take(video: Video, eligible: Span | None) -> None:
        for i, share in zip(merged, video.shares([asks[i] for i in merged], eligible), strict=True):
            shares[i].append(share)

    if merged:
        _visit(videos, home, scope, [asks[i] for i in merged], take)
    for i, ask in enumerate(asks):
        if ask.mmr_lambda is not None:
            shares[i].append(_unlike(ask, _pooled(videos, home, scope, ask, limits)))
    answers = [ask.pinned + _merged(ask, shares[i]) for i, ask in enumerate(asks)]
    if log:
        counts = [sum(share.num_candidates for share in some) for some in shares]
        home.note(queries, answers, counts, round(1e6 * (time.perf_counter() - started)))
    return Found(state, tuple(answers))


def _visit(
    videos: Videos,
    home: Video,
    scope: Scope,
    asks: Sequence[Ask],
    look: Callable[[Video, Span | None], None],
) -> None:
    """Look into each video of the scope, in tie order; the span is the one to search, None the ask's."""
    for target in sorted(_targets(videos, home.key, scope), key=lambda one: (one.key.pool, one.key.video)):
        cancellation.check()
        try:
            with videos.use(target.key) as video:
                if _fits(video.spec, home.spec, asks, target):
                    look(video, target.eligible)
        except NotFound as exc:
            if target.field:
                raise NotFound(exc.message, field=f"{target.field}.key", expected=exc.expected) from exc


def _pooled(videos: Videos, home: Video, scope: Scope, ask: Ask, limits: Limits) -> list[Pooled]:
    """The candidates of all videos. Raises TooLarge where they are too many to be compared."""
    pools: list[Pooled] = []

    def take(video: Video, eligible: Span | None) -> None:
        pools.append(video.pooled(ask, eligible))
        if (n := sum(len(pool.hits) for pool in pools)) > limits.max_diverse_candidates:
            raise TooLarge(
                f"mmr_lambda over {n} candidates of several videos",
                field="scope",
                expected=f"at most {limits.max_diverse_candidates} candidates: narrower spans or a filter",
            )

    _visit(videos, home, scope, [ask], take)
    return pools


def _targets(videos: Videos, home: VideoKey, scope: Scope) -> Iterable[_Target]:
    if scope.pool:
        return (_Target(key, None if key == home else _WHOLE) for key in videos.keys(home.pool))
    return (_Target(one.key, one.eligible, f"scope.videos[{i}]") for i, one in enumerate(scope.videos))


def _fits(spec: VideoSpec, home: VideoSpec, asks: Sequence[Ask], target: _Target) -> bool:
    """Whether embeddings of both can be compared. Raises InvalidArgument where the scope names the video."""
    names = {term.name for ask in asks for term in ask.query.terms}
    wanted = (home.embedding_dim, home.encoder_id, {name: home.named_dims[name] for name in sorted(names)})
    named = {name: spec.named_dims.get(name, 0) for name in sorted(names)}
    fits = (spec.embedding_dim, spec.encoder_id, named) == wanted
    if not fits and target.field:
        raise InvalidArgument(
            f"video {target.key} holds other embeddings than the video that is asked",
            field=target.field,
            expected=f"dimension {wanted[0]}, encoder {wanted[1]!r}"
            + (f", named {wanted[2]}" if names else ""),
        )
    return fits


def _merged(ask: Ask, shares: Sequence[Share]) -> tuple[Hit, ...]:
    """The k best of all; a single share has its own order."""
    if len(shares) == 1:
        return shares[0].hits
    hits = sorted(chain.from_iterable(share.hits for share in shares), key=_rank)
    return tuple(hits[: ask.k])


def _rank(hit: Hit) -> tuple[float, str, str, int]:
    handle = hit.handle
    return -hit.score, handle.key.pool, handle.key.video, handle.frame


def _unlike(ask: Ask, pools: Sequence[Pooled]) -> Share:
    """Maximal marginal relevance over the candidates of all videos, which come in tie order."""
    num_candidates = sum(pool.num_candidates for pool in pools)
    hits = list(chain.from_iterable(pool.hits for pool in pools))
    if not hits:
        return Share((), num_candidates)
    rows = np.concatenate([pool.rows for pool in pools if pool.hits])
    terms = [
        np.concatenate(parts) for parts in zip(*(pool.terms for pool in pools if pool.hits), strict=True)
    ]
    index, copy, whole = FlatIndex(), hits[0].handle.key, Span(0, len(hits))
    index.add(copy, rows)
    candidates = CandidateSet(index, copy, whole, np.arange(len(hits)), lambda some: rows[list(some)])
    numbers = {key: number for number, key in enumerate({hit.handle.key for hit in (*hits, *ask.pinned)})}
    places = [(numbers[hit.handle.key], hit.handle.frame) for hit in ask.pinned]
    videos = [numbers[hit.handle.key] for hit in hits]
    frames = np.array([hit.handle.frame for hit in hits], np.int64)
    assert ask.mmr_lambda is not None
    choice = best_unlike(
        estimated(candidates, ask.vector, ask.weights, terms),
        candidates,
        ask.k,
        mmr_lambda=ask.mmr_lambda,
        apart=Apart(videos, frames, ask.query.policy.min_gap_frames, places),
        min_score=ask.min_score,
        pinned=ask.pinned_vectors,
    )
    chosen = tuple(replace(hits[number], score=score) for number, score in choice.chosen)
    return Share(chosen, num_candidates)
