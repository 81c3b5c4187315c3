"""One video that is open: its reel, its frames and its partition of the index, under one lock."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from memory_service.errors import AlreadyExists, Fenced, NotFound, OutOfOrder, ServiceError, Unavailable
from memory_service.events import Events
from memory_service.frames import Frames, StoredFrame
from memory_service.index.base import Index
from memory_service.recall import Recall
from memory_service.records import PackedBlock, pack_block, unpack_block, unpack_video
from memory_service.reel import Kind
from memory_service.retrieval_log import RetrievalLog
from memory_service.store.files import not_found
from memory_service.store.reel_file import ReelFile
from memory_service.store.scan import Scan
from memory_service.types import (
    Advanced,
    Appended,
    Block,
    EventKind,
    Found,
    Handle,
    Hit,
    Query,
    Retrieval,
    VideoInfo,
    VideoState,
)

_TABLE_BYTES = 512
"""Memory of the tables of frames and blocks, a frame."""


class Video:
    """A video's verbs. Safe for threads; arguments have been validated.

    `changed` is called with the reel after each append to it; what happens to the video is published in
    `events`, under the lock, so that its events come in order. Every verb raises NotFound once the video has
    been dropped.
    """

    def __init__(
        self,
        reel: ReelFile,
        found: Scan,
        index: Index,
        changed: Callable[[ReelFile], None] | None,
        events: Events,
    ) -> None:
        created = unpack_video(found.records[0])
        self.key = created.key
        self.spec = created.spec
        self._created = created
        self._epoch = created.state.epoch
        self._reel = reel
        self._frames = Frames(self.key, self._epoch, reel)
        self._log = RetrievalLog(self.key, reel)
        self._index = index
        self._recall = Recall(self.key, self._frames, index, self._log, events)
        self._events = events
        self._changed = changed
        self._ended: Callable[[], ServiceError] | None = None
        self._lock = threading.Lock()
        for record in found.records:
            if record.prefix.kind == Kind.BLOCK:
                block = unpack_block(record)
                self._frames.add(block)
                index.add(self.key, self._frames.embeddings(range(block.span.start, block.span.stop)))
            elif record.prefix.kind == Kind.RETRIEVAL:
                self._log.note(record)

    def info(self) -> VideoInfo:
        with self._lock:
            return replace(self._created, state=self._state())

    def append(self, block: Block, *, epoch: int | None, sync: bool) -> Appended:
        """See `Memory.append`."""
        packed = pack_block(block)
        with self._lock:
            duplicate = self._append(block, packed, epoch)
        return self._answer(block, duplicate, sync)

    def search(self, queries: Sequence[Query], *, log: bool) -> Found:
        """See `Memory.search`."""
        with self._lock:
            hits = self._search(queries, log, [f"queries[{i}]" for i in range(len(queries))])
            return Found(self._state(), tuple(hits))

    def advance(
        self, block: Block, query: Query, *, known: Sequence[Handle], epoch: int | None, sync: bool
    ) -> Advanced:
        """See `Memory.advance`."""
        if query.embedding is None and query.frame is None:
            query = replace(query, frame=block.span.stop - 1)
        packed = pack_block(block)
        with self._lock:
            if query.frame is not None and query.frame >= block.span.stop:
                self._frames.check_kept(query.frame, "query.frame")
            duplicate = self._append(block, packed, epoch)
            (hits,) = self._search([query], True, ["query"])
            held = set(known)
            stored = [self._frames.stored(hit.handle, ()) for hit in hits if hit.handle not in held]
        frames = tuple(frame.verified("query") for frame in stored)
        return Advanced(self._answer(block, duplicate, sync), hits, frames)

    def stored(self, handles: Sequence[tuple[int, Handle]], parts: Sequence[str]) -> list[StoredFrame]:
        """The frames of numbered handles, unverified. Raises NotFound, naming the handle by its number."""
        with self._lock:
            self._check_there()
            for number, handle in handles:
                if handle.epoch != self._epoch:
                    raise NotFound(
                        f"stale handle {handle}", field=f"handles[{number}].epoch", expected=str(self._epoch)
                    )
                self._frames.check_kept(handle.frame, f"handles[{number}].frame")
            return [self._frames.stored(handle, parts) for _, handle in handles]

    def retrievals(self) -> list[Retrieval]:
        """See `Memory.retrievals`."""
        with self._lock:
            self._check_there()
            read = self._log.reader()
        return read()

    def drop(self, remove: Callable[[], None]) -> None:
        """End the video; `remove` unlinks its reel. What was fetched before stays readable."""
        with self._lock:
            self._check_there()
            remove()
            self._ended = lambda: not_found(self.key)
            self._reel.abandon()
            self._index.drop(self.key)

    @property
    def memory_bytes(self) -> int:
        """What it costs to keep this video open: its part of the index, and its tables."""
        return self._index.num_bytes(self.key) + self._frames.length * _TABLE_BYTES

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

    def _state(self) -> VideoState:
        self._check_there()
        return VideoState(self._epoch, self._frames.length, self._frames.durable)

    def _check_there(self) -> None:
        if self._ended is not None:
            raise self._ended()

    def _append(self, block: Block, packed: PackedBlock, epoch: int | None) -> bool:
        """Append under the lock; True for a duplicate."""
        self._check_there()
        if epoch is not None and epoch != self._epoch:
            raise Fenced(f"epoch {epoch} is over", field="epoch", expected=str(self._epoch))
        length = self._frames.length
        if block.start < length:
            self._check_duplicate(block, packed, length)
            return True
        if block.start > length:
            raise OutOfOrder(
                f"the block starts at frame {block.start}, past the end of the video",
                field="block.start",
                expected=str(length),
                details={"expected_start": str(length)},
            )
        self._index.add(self.key, block.embeddings)
        try:
            record = self._reel.append(Kind.BLOCK, *packed)
        except BaseException:
            self._index.truncate(self.key, length)
            raise
        self._frames.add(unpack_block(record))
        self._mark()
        self._events.publish(EventKind.APPENDED, self.key, self._state())
        return False

    def _check_duplicate(self, block: Block, packed: PackedBlock, length: int) -> None:
        if block.span.stop > length:
            raise AlreadyExists(
                f"frames [{block.start}, {length}) of the block are there, the rest is not",
                field="block.start",
                expected=str(length),
                details={"expected_start": str(length)},
            )
        frame = self._frames.first_difference(block, packed)
        if frame is not None:
            raise AlreadyExists(
                f"frame {frame} is there with other bytes",
                field="block",
                expected=f"the same bytes, or a block that starts at {length}",
                details={"expected_start": str(length)},
            )

    def _answer(self, block: Block, duplicate: bool, sync: bool) -> Appended:
        if sync:
            self._reel.commit(self._frames.end_of(block.span.stop - 1))
        with self._lock:
            return Appended(self._state(), duplicate)

    def _search(self, queries: Sequence[Query], log: bool, fields: Sequence[str]) -> list[tuple[Hit, ...]]:
        """Search under the lock; `fields` name the queries in errors."""
        log = log and self._changed is not None
        hits = self._recall.search(self._state(), queries, fields, log=log)
        if log:
            self._mark()
        return hits

    def _mark(self) -> None:
        if self._changed is not None:
            self._changed(self._reel)
