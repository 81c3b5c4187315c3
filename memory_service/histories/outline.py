"""Where a video stands by its records: epoch, length, seal and origin, without a look at any payload."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace

from memory_service.records import unpack_fork, unpack_video
from memory_service.reel import Kind, Record
from memory_service.types import Parent, VideoInfo, VideoState

_BLOCK = int(Kind.BLOCK)


class Outline:
    """The records of one reel, taken in one after the other; the same for videos that are open and cold.

    `created` is the video as it began; `epoch`, `length`, `sealed` and `parent` are as of the last record.
    `ended_epoch` is the epoch that a truncation has just ended, None once anything was written after it.
    """

    def __init__(self, created: Record) -> None:
        """`created` is the video record."""
        self.created = unpack_video(created)
        self.epoch = self.created.state.epoch
        self.sealed = False
        self.parent: Parent | None = None
        self.ended_epoch: int | None = None
        self._stops = array("q")
        self._ends = array("q")

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Outline":
        """The outline of a whole reel."""
        first, *rest = records
        outline = cls(first)
        for record in rest:
            outline.take(record)
        return outline

    @property
    def length(self) -> int:
        return self._stops[-1] if self._stops else 0

    def take(self, record: Record) -> None:
        """Take in the next record."""
        kind = record.prefix.kind
        if kind == _BLOCK:
            self._grow(record.header["start"] + record.header["n"], record.end)
            self.ended_epoch = None
            return
        match kind:
            case Kind.FORK:
                self.parent = unpack_fork(record).parent
                self._grow(self.parent.length, 0)
            case Kind.TRUNCATE:
                self._cut(record.header["length"])
                self.ended_epoch, self.epoch = self.epoch, record.header["epoch"]
            case Kind.SEAL:
                self.sealed = True
                self.ended_epoch = None

    def durable(self, mark: int) -> int:
        """Number of frames that survive a loss of power where the reel is durable up to byte `mark`."""
        blocks = bisect_right(self._ends, mark)
        return self._stops[blocks - 1] if blocks else 0

    def state(self, mark: int) -> VideoState:
        """Where the video stands when its reel is durable up to byte `mark`."""
        return VideoState(self.epoch, self.length, self.durable(mark))

    def info(self, mark: int, num_bytes: int) -> VideoInfo:
        """The video when its reel has `num_bytes` bytes of records, those before `mark` durable."""
        return replace(
            self.created,
            state=self.state(mark),
            parent=self.parent,
            sealed=self.sealed,
            num_bytes=num_bytes,
        )

    def _grow(self, stop: int, end: int) -> None:
        self._stops.append(stop)
        self._ends.append(end)

    def _cut(self, length: int) -> None:
        """Forget the frames from `length` on; a block in the middle of which that is stays in part."""
        whole = bisect_right(self._stops, length)
        begun = (self._stops[whole - 1] if whole else 0) < length
        if begun:
            self._stops[whole] = length
        del self._stops[whole + begun :], self._ends[whole + begun :]
