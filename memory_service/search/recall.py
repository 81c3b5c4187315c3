"""Searching one open video: from queries to candidates, from those chosen to hits, and why in the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from memory_service.events import Events
from memory_service.histories.frames import Frames
from memory_service.index.base import Index, Probe
from memory_service.search.asks import Ask, described, is_plain, num_pinned
from memory_service.search.candidates import CandidateSet, Numbers, estimated
from memory_service.search.filters import passing
from memory_service.search.fusion import fused
from memory_service.search.policy import Apart, best_apart, best_unlike
from memory_service.search.retrieval_log import RetrievalLog
from memory_service.select import Ranked, Scores, cosines, top_k
from memory_service.types import (
    Block,
    Embeddings,
    EventKind,
    Filter,
    Hit,
    Query,
    Retrieval,
    Span,
    VideoKey,
    VideoState,
)

_ANY = Filter()


class Share(NamedTuple):
    """What one video has for an ask: its best, in the order chosen, and the best that were not."""

    hits: tuple[Hit, ...]
    num_candidates: int
    runner_up_frames: tuple[int, ...] = ()
    runner_up_scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Pooled:
    """All candidates of one video for an ask, to be chosen from together with those of others.

    `hits` [n] lack their scores; `rows` float32 [n, D] are their embeddings, `terms` float32 [n] the cosines
    of the ask's terms. `num_candidates` counts also those that are pinned.
    """

    hits: tuple[Hit, ...]
    rows: Embeddings
    terms: tuple[Scores, ...]
    num_candidates: int


class Recall:
    """The searches of one video. Its caller holds the video's lock and has validated the queries."""

    def __init__(
        self, key: VideoKey, frames: Frames, index: Index, log: RetrievalLog, events: Events
    ) -> None:
        self._key = key
        self._frames = frames
        self._index = index
        self._log = log
        self._events = events

    def search(
        self,
        state: VideoState,
        queries: Sequence[Query],
        fields: Sequence[str],
        *,
        log: bool,
        again: bool = False,
        newest: Block | None = None,
    ) -> list[tuple[Hit, ...]]:
        """Hits of each query, best first; `fields` name the queries in errors, `log` writes each down.

        `again`: its caller may have lost the answer to this search, and then it is in the log. `state` is
        where the video stands now. What is in the `newest` block, which is kept, need not be read from the
        reel. Raises NotFound for a query or pinned frame that is not kept.
        """
        started = time.perf_counter()
        asks = self.asks(queries, fields, newest)
        shares = self.shares(asks)
        answers = [ask.pinned + share.hits for ask, share in zip(asks, shares, strict=True)]
        if log:
            search_us = round(1e6 * (time.perf_counter() - started))
            for query, hits, share in zip(queries, answers, shares, strict=True):
                self.note(state, query, hits, share, search_us, again=again)
        return answers

    def asks(self, queries: Sequence[Query], fields: Sequence[str], newest: Block | None = None) -> list[Ask]:
        """The queries, ready. Raises NotFound for a query or pinned frame that is not kept."""
        return [self._ask(query, field, newest) for query, field in zip(queries, fields, strict=True)]

    def check_kept(self, query: Query, field: str, length: int) -> None:
        """Raises NotFound unless all frames that a query names are among the first `length`."""
        if query.frame is None and not query.policy.pinned_frames:
            return
        named = [(query.frame, f"{field}.frame")] if query.frame is not None else []
        named += ((f, f"{field}.policy.pinned_frames[{i}]") for i, f in enumerate(query.policy.pinned_frames))
        for frame, name in named:
            if frame >= length:
                self._frames.check_kept(frame, name)

    def shares(self, asks: Sequence[Ask], eligible: Span | None = None) -> list[Share]:
        """The best of this video for each ask, in its query's span or all in `eligible`."""
        spans = [self._span(ask.query.eligible if eligible is None else eligible) for ask in asks]
        pairs = list(zip(asks, spans, strict=True))
        plain = [Probe(self._key, ask.vector, ask.k, span) for ask, span in pairs if is_plain(ask.query)]
        ranked = iter(top_k(self._index, plain, self._frames.embeddings) if plain else ())
        return [
            self._plain_share(next(ranked), span) if is_plain(ask.query) else self._share(ask, span)
            for ask, span in pairs
        ]

    def pooled(self, ask: Ask, eligible: Span | None) -> Pooled:
        """All candidates of this video for an ask."""
        span = self._span(ask.query.eligible if eligible is None else eligible)
        frames, num_candidates = self._candidates(ask, span)
        hits = self._hits(frames.tolist(), [0.0] * len(frames))
        return Pooled(hits, self._rows(frames.tolist()), self._terms(ask, frames), num_candidates)

    def note(
        self,
        state: VideoState,
        query: Query,
        hits: Sequence[Hit],
        share: Share,
        search_us: int,
        *,
        wide: bool = False,
        again: bool = False,
    ) -> None:
        """Write a retrieval down and tell who watches, unless it is there, `again`, as the last one.

        `wide`: the hits are of several videos.
        """
        retrieval = Retrieval(
            key=self._key,
            epoch=state.epoch,
            length=state.length,
            query_frame=query.frame,
            eligible=query.eligible,
            k=query.k,
            policy=described(query),
            frames=tuple([hit.handle.frame for hit in hits]),
            scores=tuple([hit.score for hit in hits]),
            search_us=search_us,
            unix_ms=time.time_ns() // 1_000_000,
            videos=tuple(hit.handle.key for hit in hits) if wide else (),
            num_candidates=share.num_candidates,
            runner_up_frames=share.runner_up_frames,
            runner_up_scores=share.runner_up_scores,
        )
        if again and self._log.ends_with(retrieval):
            return
        self._log.add(retrieval)
        self._events.publish(EventKind.RETRIEVED, self._key, state, retrieval=retrieval)

    def _ask(self, query: Query, field: str, newest: Block | None) -> Ask:
        self.check_kept(query, field, 0)
        vector = query.embedding
        if vector is None:
            assert query.frame is not None
            vector = self._vector(query.frame, newest)
        pinned = query.policy.pinned_frames[: num_pinned(query)]
        if not pinned:
            return Ask(query, vector)
        ask, rows = Ask(query, vector), self._rows(pinned)
        frames = np.array(pinned, np.int64)
        scores = fused([cosines(rows, vector), *self._terms(ask, frames)], ask.weights)
        hits = tuple(replace(hit, pinned=True) for hit in self._hits(pinned, scores.tolist()))
        return Ask(query, vector, hits, tuple(rows))

    def _vector(self, frame: int, newest: Block | None) -> Embeddings:
        """The embedding float32 [D] of a kept frame."""
        if newest is None or not 0 <= frame - newest.start < len(newest.embeddings):
            rows, row = self._rows([frame]), 0
        else:
            rows, row = newest.embeddings, frame - newest.start
        vector: Embeddings = rows[row]
        return vector

    def _span(self, eligible: Span) -> Span:
        length = self._frames.length
        return Span(min(eligible.start, length), min(eligible.stop, length))

    def _plain_share(self, ranked: Ranked, span: Span) -> Share:
        return Share(self._hits(ranked.frames, ranked.scores), len(span), *ranked[2:])

    def _share(self, ask: Ask, span: Span) -> Share:
        """The best of the candidates by the ask's policy."""
        frames, num_candidates = self._candidates(ask, span)
        candidates = CandidateSet(self._index, self._key, span, frames, self._frames.embeddings)
        scores = estimated(candidates, ask.vector, ask.weights, self._terms(ask, frames))
        gap = ask.query.policy.min_gap_frames
        pinned = self._pinned_here(ask)
        if ask.mmr_lambda is None:
            choice = best_apart(scores, frames, ask.k, min_gap=gap, min_score=ask.min_score, pinned=pinned)
        else:
            choice = best_unlike(
                scores,
                candidates,
                ask.k,
                mmr_lambda=ask.mmr_lambda,
                apart=Apart([0] * len(frames), frames, gap, [(0, frame) for frame in pinned]),
                min_score=ask.min_score,
                pinned=ask.pinned_vectors,
            )
        chosen, near = choice.chosen, choice.runners_up
        return Share(
            self._hits([int(frames[number]) for number, _ in chosen], [score for _, score in chosen]),
            num_candidates,
            tuple(int(frames[number]) for number, _ in near),
            tuple(score for _, score in near),
        )

    def _candidates(self, ask: Ask, span: Span) -> tuple[Numbers, int]:
        """Frames of the span that pass the filter and are not pinned, and how many pass."""
        if ask.query.filter == _ANY:
            frames = np.arange(span.start, span.stop)
        else:
            blocks = ((block.span, block.stored) for block in self._frames.blocks)
            frames = passing(ask.query.filter, span, blocks)
        num_candidates, pinned = len(frames), self._pinned_here(ask)
        return frames[~np.isin(frames, pinned)] if pinned else frames, num_candidates

    def _pinned_here(self, ask: Ask) -> list[int]:
        return [hit.handle.frame for hit in ask.pinned if hit.handle.key == self._key]

    def _terms(self, ask: Ask, frames: Numbers) -> tuple[Scores, ...]:
        """Exact cosines float32 [n] of some frames with each term of the ask."""
        numbers = frames.tolist()
        return tuple(cosines(self._rows(numbers, term.name), term.embedding) for term in ask.query.terms)

    def _rows(self, frames: Sequence[int], name: str = "") -> Embeddings:
        """Embeddings float32 [n, D], or named ones, of any number of frames."""
        if not frames:
            return np.empty((0, 1), np.float32)
        return self._frames.embeddings(frames, name)

    def _hits(self, frames: Sequence[int], scores: Sequence[float]) -> tuple[Hit, ...]:
        handle = self._frames.handle
        return tuple([Hit(handle(frame), score) for frame, score in zip(frames, scores, strict=True)])
