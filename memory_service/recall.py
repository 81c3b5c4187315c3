"""Searching one open video: from queries to probes, from ranked frames to hits, and why in the log."""

import time
from collections.abc import Sequence

from memory_service.events import Events
from memory_service.frames import Frames
from memory_service.index.base import Index, Probe
from memory_service.retrieval_log import RetrievalLog
from memory_service.select import TOP_K, Ranked, top_k
from memory_service.types import EventKind, Hit, Query, Retrieval, Span, VideoKey, VideoState


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
        self, state: VideoState, queries: Sequence[Query], fields: Sequence[str], *, log: bool
    ) -> list[tuple[Hit, ...]]:
        """Hits of each query, best first; `fields` name the queries in errors, `log` writes each down.

        `state` is where the video stands now. Raises NotFound for a query frame that is not kept.
        """
        started = time.perf_counter()
        probes = [self._probe(query, field) for query, field in zip(queries, fields, strict=True)]
        ranked = top_k(self._index, probes, self._frames.embeddings)
        search_us = round(1e6 * (time.perf_counter() - started))
        if log:
            for query, chosen in zip(queries, ranked, strict=True):
                retrieval = self._retrieval(state, query, chosen, search_us)
                self._log.add(retrieval)
                self._events.publish(EventKind.RETRIEVED, self._key, state, retrieval=retrieval)
        return [
            tuple(
                Hit(self._frames.handle(frame), score)
                for frame, score in zip(chosen.frames, chosen.scores, strict=True)
            )
            for chosen in ranked
        ]

    def _probe(self, query: Query, field: str) -> Probe:
        vector = query.embedding
        if vector is None:
            assert query.frame is not None
            self._frames.check_kept(query.frame, f"{field}.frame")
            vector = self._frames.embeddings([query.frame])[0]
        length = self._frames.length
        eligible = Span(min(query.eligible.start, length), min(query.eligible.stop, length))
        return Probe(self._key, vector, query.k, eligible)

    def _retrieval(self, state: VideoState, query: Query, chosen: Ranked, search_us: int) -> Retrieval:
        return Retrieval(
            key=self._key,
            epoch=state.epoch,
            length=state.length,
            query_frame=query.frame,
            eligible=query.eligible,
            k=query.k,
            policy=TOP_K,
            frames=chosen.frames,
            scores=chosen.scores,
            search_us=search_us,
            unix_ms=time.time_ns() // 1_000_000,
        )
