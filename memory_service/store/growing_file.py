"""A file that grows at its end in extents allocated ahead, mapped for reading. Its owner serialises calls."""

import mmap
import os
from collections.abc import Sequence

from memory_service.growing_map import GrowingMap, Segment
from memory_service.types import Buffer

_MAX_BUFFERS = 1024
"""IOV_MAX of Linux: how many buffers one pwritev takes."""


class GrowingFile:
    """An open descriptor and what lies behind it. Views of it stay valid, also when it is closed.

    `allocated` is the file's size: what was written and what was allocated ahead of it.
    """

    def __init__(self, fd: int, size: int, extent_bytes: int) -> None:
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self.allocated = size
        self._extent_bytes = extent_bytes
        self._segments = GrowingMap()
        self._segments.grow(fd, size)
        self._whole = memoryview(b"")

    @property
    def closed(self) -> bool:
        return self.fd < 0

    @property
    def size(self) -> int:
        """Size of the file now, open or closed; safe beside everything else. Raises OSError."""
        return self._segments.file_bytes

    @property
    def segments(self) -> Sequence[Segment]:
        """What is mapped already, oldest first; safe beside everything else."""
        return self._segments.segments

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all of `buffers` at `offset`, in one call if the kernel takes them so. Raises OSError."""
        num_bytes = sum(map(len, buffers))
        if offset + num_bytes > self.allocated:
            self._allocate(offset + num_bytes)
        written = os.pwritev(self.fd, buffers[:_MAX_BUFFERS], offset)
        if written < num_bytes:
            self._write_rest(buffers, written, offset + written)

    def _write_rest(self, buffers: Sequence[Buffer], written: int, offset: int) -> None:
        """Write what is left of `buffers` at `offset` after `written` bytes. Raises OSError."""
        rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while True:
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if not rest:
                return
            rest[0] = rest[0][written:]
            written = os.pwritev(self.fd, rest[:_MAX_BUFFERS], offset)
            offset += written

    def cut(self, size: int) -> None:
        """Let the file end at byte `size`. Raises OSError."""
        os.ftruncate(self.fd, size)
        self.allocated = size

    def mapped(self, offset: int, length: int) -> memoryview | None:
        """Bytes that are mapped already; safe beside everything else. None where they are not."""
        found = self._segments.view(offset, length)
        if found is None and offset + length <= len(self._whole):
            return self._whole[offset : offset + length]
        return found

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes of the file, mapped if they were not. Raises OSError."""
        self._segments.grow(self.fd, self.allocated)
        found = self.mapped(offset, length)
        if found is None:
            self._whole = memoryview(mmap.mmap(self.fd, self.allocated, access=mmap.ACCESS_READ))
            found = self._whole[offset : offset + length]
        return found

    def close(self) -> None:
        """Release the descriptor; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _allocate(self, end: int) -> None:
        size = -(-end // self._extent_bytes) * self._extent_bytes
        try:
            os.posix_fallocate(self.fd, self.allocated, size - self.allocated)
        except OSError:
            size = end
            os.posix_fallocate(self.fd, self.allocated, size - self.allocated)
        self.allocated = size
