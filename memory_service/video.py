"""One video that is open: the verbs over its history, under one lock."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from functools import partial

from memory_service.errors import ServiceError, Unavailable
from memory_service.events import Events
from memory_service.histories.frames import KeptBlock
from memory_service.histories.history import History
from memory_service.histories.stored_frame import StoredFrame
from memory_service.index.base import Index
from memory_service.records import PackedBlock, pack_block
from memory_service.reel import Kind
from memory_service.search.asks import Ask
from memory_service.search.recall import Pooled, Recall, Share
from memory_service.search.retrieval_log import RetrievalLog
from memory_service.store.base_reel import BaseReel
from memory_service.store.bases import Branch
from memory_service.store.files import not_found
from memory_service.store.reel_file import ReelFile
from memory_service.store.scan import Scan
from memory_service.types import (
    Appended,
    Block,
    Embeddings,
    EventKind,
    Found,
    Handle,
    Hit,
    Query,
    Retrieval,
    Span,
    VideoInfo,
    VideoState,
)


class Video:
    """A video's verbs. Safe for threads; arguments have been validated.

    `changed` is called with the reel after each append to it; None where nothing may be written. What happens
    is published in `events`. Every verb raises NotFound once the video has been dropped.
    """

    def __init__(
        self,
        reel: ReelFile,
        found: Scan,
        index: Index,
        changed: Callable[[ReelFile], None] | None,
        events: Events,
        bases: Sequence[BaseReel] = (),
    ) -> None:
        """`bases` are the reels that a fork shares, oldest first. Raises DataLoss where they do not fit."""
        self._history = History(reel, found, bases, index)
        self.key = self._history.key
        self.spec = self._history.spec
        self._reel = reel
        self._frames = self._history.frames
        self._log = RetrievalLog(self.key, reel)
        self._index = index
        self._recall = Recall(self.key, self._frames, index, self._log, events)
        self._changed = changed
        self._events = events
        self._ended: Callable[[], ServiceError] | None = None
        self._lock = threading.Lock()
        for record in found.records:
            if record.prefix.kind == Kind.RETRIEVAL:
                self._log.note(record)

    def info(self) -> VideoInfo:
        with self._lock:
            self._check_there()
            return self._history.info

    def append(self, block: Block, *, epoch: int | None, sync: bool) -> Appended:
        """See `Memory.append`."""
        packed = _packed(block)
        with self._lock:
            duplicate, end = self._append(block, packed, epoch)
            appended = Appended(self._history.state, duplicate)
        return self._durably(appended, end) if sync else appended

    def search(self, queries: Sequence[Query], *, log: bool) -> Found:
        """See `Memory.search`."""
        with self._lock:
            self._check_there()
            hits = self._search(queries, log, _fields(queries))
            return Found(self._history.state, tuple(hits))

    def asks(self, queries: Sequence[Query]) -> tuple[VideoState, list[Ask]]:
        """Queries to this video, ready to be put to others too. Raises NotFound for frames not kept."""
        with self._lock:
            self._check_there()
            return self._history.state, self._recall.asks(queries, _fields(queries))

    def shares(self, asks: Sequence[Ask], eligible: Span | None) -> list[Share]:
        """The best of this video for each ask, of which `eligible` None leaves the span to the ask."""
        with self._lock:
            self._check_there()
            return self._recall.shares(asks, eligible)

    def pooled(self, ask: Ask, eligible: Span | None) -> Pooled:
        """All candidates of this video for an ask, copied."""
        with self._lock:
            self._check_there()
            return self._recall.pooled(ask, eligible)

    def note(
        self,
        queries: Sequence[Query],
        answers: Sequence[tuple[Hit, ...]],
        counts: Sequence[int],
        search_us: int,
    ) -> None:
        """Log what was found in several videos, each answer from so many candidates."""
        with self._lock:
            self._check_there()
            if self._changed is None:
                return
            for query, hits, count in zip(queries, answers, counts, strict=True):
                share = Share(hits, count)
                self._recall.note(self._history.state, query, hits, share, search_us, wide=True)
            self._mark()

    def advance(
        self, block: Block, query: Query, *, known: Collection[Handle], epoch: int | None, sync: bool
    ) -> tuple[Appended, tuple[Hit, ...], list[StoredFrame]]:
        """See `Memory.advance`; the frames of the hits that are not `known` come unverified."""
        stop = block.start + len(block.embeddings)
        if query.embedding is None and query.frame is None:
            query = _asking(query, stop - 1)
        packed = _packed(block)
        held = known if isinstance(known, Set) else frozenset(known)
        with self._lock:
            self._recall.check_kept(query, "query", stop)
            duplicate, end = self._append(block, packed, epoch)
            (hits,) = self._search([query], True, ["query"], again=duplicate, newest=block)
            handles = [hit.handle for hit in hits if not held or hit.handle not in held]
            stored = self._frames.stored(handles, ())
            appended = Appended(self._history.state, duplicate)
        return self._durably(appended, end) if sync else appended, hits, stored

    def stored(self, handles: Sequence[tuple[int, Handle]], parts: Sequence[str]) -> list[StoredFrame]:
        """The frames of numbered handles, unverified. Raises NotFound, naming the handle by its number."""
        with self._lock:
            self._check_there()
            for number, handle in handles:
                self._frames.check_handle(handle, self._history.epoch, f"handles[{number}]")
            return self._frames.stored([handle for _, handle in handles], parts)

    def retrievals(self, start: int, limit: int | None, *, newest_first: bool) -> list[Retrieval]:
        """See `Memory.retrievals`."""
        with self._lock:
            self._check_there()
            read = self._log.reader(start, limit, newest_first=newest_first)
        return read()

    def truncate(self, length: int, *, epoch: int | None) -> VideoInfo:
        """See `Memory.truncate_video`."""
        with self._lock:
            self._check_there()
            if not self._history.truncate(length, epoch):
                self._publish(EventKind.TRUNCATED)
        self._reel.commit()
        return self.info()

    def seal(self, *, epoch: int | None) -> VideoInfo:
        """See `Memory.seal_video`."""
        with self._lock:
            self._check_there()
            if not self._history.seal(epoch):
                self._publish(EventKind.SEALED)
        self._reel.commit()
        return self.info()

    def branch(self, length: int | None, *, epoch: int | None) -> Branch:
        """Where a fork of the first `length` frames, or of all, leaves; durable when this returns.

        Raises NotFound, Fenced, InvalidArgument where no block ends there, Exhausted, Unavailable.
        """
        with self._lock:
            self._check_there()
            branch, end = self._history.branch(length, epoch)
        self._reel.commit(end)
        return branch

    def snapshot(self) -> tuple[VideoInfo, tuple[KeptBlock, ...], Iterator[Retrieval]]:
        """The video, its blocks and its retrievals of this moment, to be read while it is open."""
        with self._lock:
            self._check_there()
            return self._history.info, self._frames.blocks, self._log.entries()

    def drop(self, remove: Callable[[], None], *, kept: bool) -> int:
        """End the video; `remove` unlinks its reel. What was fetched before stays readable.

        Returns the bytes of its records; `kept` is that forks keep them on the disk, and nothing behind them.
        """
        with self._lock:
            self._check_alive()
            if kept:
                self._reel.give_back()
            remove()
            self._ended = partial(not_found, self.key)  # no reference to itself: its maps go at once
            self._reel.abandon()
            self._index.drop(self.key)
            return self._reel.end

    @property
    def memory_bytes(self) -> int:
        """Memory that the video takes while it is open."""
        return self._history.memory_bytes

    @property
    def shared_bytes(self) -> int:
        """Bytes of other reels that a fork has its first frames in; 0 for a video that is none."""
        return self._history.shared_bytes

    def embeddings(self, frames: Sequence[int]) -> Embeddings:
        """float32 [m, D] of m >= 1 frames, for looking at the video from outside. Raises NotFound."""
        with self._lock:
            self._check_there()
            for frame in frames:
                self._history.frames.check_kept(frame, "frames")
            return self._history.frames.embeddings(frames)

    @property
    def outdated(self) -> bool:
        """Whether somebody else has written to the reel or replaced it since it was opened."""
        return self._reel.outdated

    @property
    def failed(self) -> bool:
        """Whether the reel refuses appends because an earlier write or commit of it failed."""
        return self._reel.failure is not None

    def commit(self) -> None:
        """Make everything durable. Raises Exhausted, Unavailable."""
        if not self._reel.read_only:
            self._reel.commit()

    def close(self) -> None:
        """Commit and release everything. Raises Exhausted, Unavailable."""
        with self._lock:
            if self._ended is None:
                self._ended = lambda: Unavailable("the memory is closed")
                self._index.drop(self.key)
                self._reel.close()

    def _check_there(self) -> None:
        """Raises NotFound after the end, DataLoss where the file is not all there any more."""
        self._check_alive()
        self._history.check_size()

    def _check_alive(self) -> None:
        if self._ended is not None:
            raise self._ended()

    def _append(self, block: Block, packed: PackedBlock, epoch: int | None) -> tuple[bool, int]:
        """Append under the lock: whether it is a duplicate, and how far the reel must be durable for it."""
        self._check_there()
        duplicate, end = self._history.append(block, packed, epoch)
        if not duplicate:
            self._mark()
            self._publish(EventKind.APPENDED)
        return duplicate, end

    def _durably(self, appended: Appended, end: int) -> Appended:
        """The answer once the reel is durable up to byte `end`. Raises NotFound where the video is gone."""
        self._reel.commit(end)
        with self._lock:
            self._check_there()
            return Appended(self._history.state, appended.duplicate)

    def _search(
        self,
        queries: Sequence[Query],
        log: bool,
        fields: Sequence[str],
        *,
        again: bool = False,
        newest: Block | None = None,
    ) -> list[tuple[Hit, ...]]:
        """Search under the lock; `fields` name the queries in errors. For the rest see `Recall.search`."""
        log = log and self._changed is not None
        state = self._history.state
        hits = self._recall.search(state, queries, fields, log=log, again=again, newest=newest)
        if log:
            self._mark()
        return hits

    def _mark(self) -> None:
        if self._changed is not None:
            self._changed(self._reel)

    def _publish(self, kind: EventKind) -> None:
        self._events.publish(kind, self.key, self._history.state)


def _fields(queries: Sequence[Query]) -> list[str]:
    return [f"queries[{i}]" for i in range(len(queries))]


def _asking(query: Query, frame: int) -> Query:
    """The query, by the embedding of a frame; `dataclasses.replace` takes many times as long."""
    return Query(query.k, query.eligible, None, frame, query.policy, query.filter, query.terms, query.weight)


def _packed(block: Block) -> PackedBlock:
    """The block as it is kept: with the time of now unless it has its own."""
    return pack_block(block, time.time_ns() // 1_000_000)
