"""Where the frames of one video lie: in its own reel, and in the reels that it was forked from."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from memory_service.errors import InvalidArgument, NotFound
from memory_service.histories.stored_frame import Pages, Payload, StoredFrame
from memory_service.stored_block import StoredBlock
from memory_service.types import Embeddings, Handle, Span, VideoKey

_FRAME_BYTES = 240
"""By tracemalloc, in blocks of three with one part: 238."""

_FEW_ROWS = 64
"""So many rows are read from where they lie; for more, the reel is mapped as a whole."""


class KeptBlock(NamedTuple):
    """The frames `span` of a block that are still there: all of `stored.span` unless a truncation cut it.

    `reel` has their bytes and `epoch` is that of their handles. Whoever reads up to byte `upto` of `ends_in`,
    and all reels before that one, ends with these frames.
    """

    stop: int
    epoch: int
    reel: Pages
    stored: StoredBlock
    ends_in: Pages
    upto: int

    @property
    def span(self) -> Span:
        return Span(self.stored.start, self.stop)

    def frame(self, handle: Handle, parts: Sequence[str]) -> StoredFrame:
        """The frame of a handle with the named parts, or all when none is named.

        Raises NotFound for a part that it lacks.
        """
        stored, frame, payload = self.stored, handle.frame, self._payload
        named, places = stored.layout.named, stored.layout.parts
        for part in parts:
            if part not in places:
                raise NotFound(
                    f"frame {frame} has no part {part!r}",
                    field="parts",
                    expected=f"one of {', '.join(places)}",
                )
        return StoredFrame(
            handle,
            payload(*stored.embedding(frame)),
            {name: payload(*stored.payload(name, frame)) for name in parts or places},
            {name: payload(*stored.embedding(frame, name)) for name in named} if named else {},
            stored.metadata,
            stored.unix_ms,
        )

    def embedding(self, frame: int, name: str = "") -> Payload:
        """A frame's embedding, or its named one. Raises KeyError for a name without any."""
        return self._payload(*self.stored.embedding(frame, name))

    def part(self, part: str, frame: int) -> Payload:
        """One part of a frame. Raises KeyError for a part that the block lacks."""
        return self._payload(*self.stored.payload(part, frame))

    def _payload(self, offset: int, length: int, crc: int) -> Payload:
        return Payload(self.reel, offset, self.reel.view(offset, length), crc)


class Frames:
    """The table of frames of one video. Reads are safe beside changes, which its caller serialises."""

    def __init__(self, key: VideoKey) -> None:
        self._key = key
        self._blocks: list[KeptBlock] = []
        self._stops = array("q")
        self._rows: dict[str, array[int]] = {"": array("q")}
        self._reels: list[Pages] = []
        self._reel_starts: list[int] = []

    @property
    def length(self) -> int:
        return self._stops[-1] if self._stops else 0

    @property
    def blocks(self) -> tuple[KeptBlock, ...]:
        """The blocks of this moment, in order."""
        return tuple(self._blocks)

    @property
    def table_bytes(self) -> int:
        """Memory that the table takes, about."""
        return _FRAME_BYTES * self.length

    def add(self, stored: StoredBlock, reel: Pages, epoch: int) -> None:
        """Add the block that follows the last one."""
        start, stop = stored.start, stored.stop
        if not self._reels or self._reels[-1] is not reel:
            self._reels.append(reel)
            self._reel_starts.append(start)
        for name in ("", *stored.named):
            first, row_bytes, _ = stored.embedding(start, name)
            rows = self._rows.setdefault(name, array("q"))
            rows.extend(range(first, first + (stop - start) * row_bytes, row_bytes))
        self._blocks.append(KeptBlock(stop, epoch, reel, stored, reel, stored.end))
        self._stops.append(stop)

    def truncate(self, length: int, reel: Pages, upto: int) -> None:
        """Forget the frames from `length` on; a record of `reel` that ends at byte `upto` says so."""
        blocks = bisect_left(self._stops, length) + (length > 0)
        del self._blocks[blocks:], self._stops[blocks:]
        if self.length > length:
            cut = self._blocks[-1]
            self._blocks[-1] = cut._replace(stop=length, ends_in=reel, upto=upto)
            self._stops[-1] = length
        for rows in self._rows.values():
            del rows[length:]
        reels = bisect_left(self._reel_starts, length)
        del self._reels[reels:], self._reel_starts[reels:]

    def block(self, frame: int) -> KeptBlock:
        """The block that holds a kept frame."""
        return self._blocks[bisect_right(self._stops, frame)]

    def block_before(self, length: int) -> KeptBlock | None:
        """The block that ends the first `length` frames, None for none. Raises InvalidArgument inside one."""
        if length == 0:
            return None
        block = self.block(length - 1) if length <= self.length else None
        if block is None or block.stop != length:
            at = bisect_right(self._stops, length)
            raise InvalidArgument(
                f"no block ends at frame {length}",
                field="length",
                expected=f"the end of a block, such as {self._stops[at - 1] if at else 0}",
            )
        return block

    def handle(self, frame: int) -> Handle:
        """The handle of a kept frame."""
        return Handle(self._key, self.block(frame).epoch, frame)

    def check_kept(self, frame: int, field: str) -> None:
        """Raises NotFound, naming the request's `field`, unless the frame is kept."""
        if frame >= self.length:
            raise NotFound(f"frame {frame} is not kept", field=field, expected=f"less than {self.length}")

    def check_handle(self, handle: Handle, epoch: int, field: str) -> None:
        """Raises NotFound unless the handle is alive; `epoch` is that of a frame which would be next."""
        if handle.frame < self.length:
            epoch = self.block(handle.frame).epoch
        if handle.epoch != epoch:
            raise NotFound(f"stale handle {handle}", field=f"{field}.epoch", expected=str(epoch))
        self.check_kept(handle.frame, f"{field}.frame")

    def embeddings(self, frames: Sequence[int], name: str = "") -> Embeddings:
        """Embeddings float32 [m, D], or named ones, of m >= 1 frames: one gather over each mapped reel."""
        layout = self._blocks[0].stored.layout
        row_bytes = (layout.named[name] if name else layout.embeddings).row_bytes
        rows = self._rows[name]
        if len(self._reels) == 1 and len(frames) <= _FEW_ROWS:
            view = self._reels[0].view
            few = b"".join([view(rows[frame], row_bytes) for frame in frames])
            return np.frombuffer(few, np.float32).reshape(len(frames), -1)
        offsets = np.array([rows[frame] for frame in frames])
        if len(self._reels) == 1:
            return _gathered(self._reels[0], offsets, row_bytes)
        gathered = np.empty((len(offsets), row_bytes // 4), np.float32)
        reels = np.searchsorted(self._reel_starts, frames, side="right") - 1
        for number in np.unique(reels).tolist():
            gathered[reels == number] = _gathered(self._reels[number], offsets[reels == number], row_bytes)
        return gathered

    def stored(self, handles: Sequence[Handle], parts: Sequence[str]) -> list[StoredFrame]:
        """The frames of live handles with the named parts, or all when none is named. Raises NotFound."""
        return [self.block(handle.frame).frame(handle, parts) for handle in handles]


def _gathered(reel: Pages, offsets: NDArray[np.int64], row_bytes: int) -> Embeddings:
    """Rows float32 [m, D] at byte `offsets` of a reel, copied: one by one where they are few."""
    if len(offsets) <= _FEW_ROWS:
        few = b"".join([reel.view(offset, row_bytes) for offset in offsets.tolist()])
        return np.frombuffer(few, np.float32).reshape(len(offsets), -1)
    first = int(offsets.min())
    values = np.frombuffer(reel.view(first, int(offsets.max()) - first + row_bytes), np.float32)
    dim = row_bytes // values.itemsize
    windows = as_strided(values, (len(values) - dim + 1, dim), values.strides * 2, writeable=False)
    rows: Embeddings = windows[(offsets - first) // values.itemsize]
    return rows
