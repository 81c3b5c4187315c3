"""Read-only views of a file that grows."""

import mmap
from bisect import bisect_left

_OVERLAP_BYTES = 64 << 20
"""How far a segment reaches back before the one before it ends: longer pieces get a map of their own."""


class GrowingMap:
    """Maps the file segment by segment, so that a page that was touched once stays in its map.

    Mapping all of it anew at each growth would make every page fault again. The caller serialises `grow`;
    `view` may run beside it. Views stay valid while they are referenced, whatever happens to the file's name.
    """

    def __init__(self) -> None:
        self._segments: list[tuple[int, memoryview]] = []
        self._stops: list[int] = []

    @property
    def size(self) -> int:
        """Bytes from the start of the file that have been mapped."""
        return self._stops[-1] if self._stops else 0

    def grow(self, fd: int, size: int) -> None:
        """Map up to byte `size`, which the file must have. Raises OSError."""
        if size <= self.size:
            return
        start = max(0, self.size - _OVERLAP_BYTES) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        segment = memoryview(mmap.mmap(fd, size - start, access=mmap.ACCESS_READ, offset=start))
        self._segments.append((start, segment))
        self._stops.append(size)

    def view(self, offset: int, length: int) -> memoryview | None:
        """Bytes [offset, offset + length) out of one segment; None where none has them all."""
        number = bisect_left(self._stops, offset + length)
        if number == len(self._segments):
            return None
        start, segment = self._segments[number]
        if offset < start:
            return None
        return segment[offset - start : offset - start + length]
