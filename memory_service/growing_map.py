"""Read-only views of a file that grows."""

import mmap
from typing import NamedTuple

_OVERLAP_BYTES = 64 << 20
"""How far a segment reaches back before the one before it ends: longer pieces get a map of their own."""

_MAX_SEGMENTS = 8
"""Each holds a file descriptor; one more, and the whole file is mapped in their place."""


class Segment(NamedTuple):
    """Bytes [start, stop) of the file, mapped."""

    start: int
    stop: int
    mapped: mmap.mmap
    data: memoryview


class GrowingMap:
    """Maps the file segment by segment, so that a page that was touched once stays in its map.

    Mapping all of it anew at each growth would make every page fault again. The caller serialises `grow`;
    `view` may run beside it. Views stay valid while they are referenced, whatever happens to the file's name.
    """

    def __init__(self) -> None:
        """`segments` may be read at any time; growing puts another list in its place."""
        self.segments: list[Segment] = []

    @property
    def size(self) -> int:
        """Bytes from the start of the file that have been mapped."""
        return self.segments[-1].stop if self.segments else 0

    @property
    def file_bytes(self) -> int:
        """Size of the file now, whoever has changed it; 0 before it is mapped. Raises OSError.

        Asks the descriptor of a map: it stays that file's when the caller closes its own.
        """
        return self.segments[-1].mapped.size() if self.segments else 0

    def grow(self, fd: int, size: int) -> None:
        """Map up to byte `size`, which the file must have. Raises OSError."""
        if size <= self.size:
            return
        segments = self.segments if len(self.segments) < _MAX_SEGMENTS else []
        start = max(0, self.size - _OVERLAP_BYTES) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        start = start if segments else 0
        mapped = mmap.mmap(fd, size - start, access=mmap.ACCESS_READ, offset=start)
        self.segments = [*segments, Segment(start, size, mapped, memoryview(mapped))]

    def view(self, offset: int, length: int) -> memoryview | None:
        """Bytes [offset, offset + length) out of one segment; None where none has them all."""
        for start, stop, _, data in self.segments:
            if offset + length <= stop:
                return data[offset - start : offset - start + length] if offset >= start else None
        return None
