"""Free memory that costs every peer the same, on a virtual machine that gives free memory back to its host.

Such a machine reports free blocks, usually of 2 MiB and more, and the host takes them. The next touch of each
of their pages waits for the host: 8 us, where a page that is used again costs 0.25 us (measured). Who pays is
chance, as it depends on what ran before. With one page of each block in use, the rest of it is free in pieces
that are never reported; and the kernel serves small requests from small pieces first.

Page cache would do as well where it stays, but some guests drop what nobody has read for half a minute.
"""

import ctypes
import mmap
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ORDER = Path("/sys/module/page_reporting/parameters/page_reporting_order")
_BUDDIES = Path("/proc/buddyinfo")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")

_PAGE = mmap.PAGESIZE
_HUGE = 2 << 20
_CHUNK_BYTES = 64 << 20
"""What is taken at a time, and nearly all given back before the next: nobody else runs short."""

_READ_BYTES = 8 << 20

WHOLE_SHARE = 0.5
"""Share of free memory that may stay in whole blocks: the kernel's compaction restores about that much."""

LIMIT_S = 90.0
_PROGRESS_S = 5.0


@dataclass(frozen=True)
class Free:
    """Free bytes, and those of them in whole blocks, which the host may have taken."""

    free_bytes: int
    whole_bytes: int

    @property
    def excess_bytes(self) -> int:
        """What is too much in whole blocks; negative where it is not."""
        return int(self.whole_bytes - WHOLE_SHARE * self.free_bytes)


def reported_bytes() -> int | None:
    """The smallest free block that this machine reports to a host; None where it reports nothing.

    None also without huge pages, for then such a block cannot be asked for.
    """
    try:
        order = int(_ORDER.read_text())
    except (OSError, ValueError):
        return None
    return _PAGE << order if order >= 0 and _HUGE_PAGES.exists() else None


def free_memory(block_bytes: int, buddyinfo: str | None = None) -> Free:
    """What is free now, from the text of /proc/buddyinfo: free blocks of each power of two of pages."""
    free = whole = 0
    for line in (_BUDDIES.read_text() if buddyinfo is None else buddyinfo).splitlines():
        for order, count in enumerate(line.split()[4:]):
            size = int(count) * (_PAGE << order)
            free += size
            whole += size if _PAGE << order >= block_bytes else 0
    return Free(free, whole)


class Ballast:
    """Pages that keep free blocks from being whole, held until the run ends.

    With `block_bytes` None nothing is ever held. `folder` takes an empty file for a moment. `free` and
    `clock` are for tests.
    """

    def __init__(
        self,
        block_bytes: int | None,
        folder: Path,
        *,
        free: Callable[[], Free] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._block_bytes, self._folder = block_bytes, folder
        self._free = free or (lambda: free_memory(block_bytes or _HUGE))
        self._clock = clock
        self._chunks: list[mmap.mmap] = []
        self._notes: list[str] = []

    @property
    def taken_bytes(self) -> int:
        """Memory of which pages were taken so far; all but one of each block has been given back."""
        return len(self._chunks) * _CHUNK_BYTES

    def top_up(self) -> None:
        """Break whole free blocks until few enough are left, or until as many were taken as there were."""
        if self._block_bytes is None:
            return
        began = said = self._clock()
        goal = self.taken_bytes + self._free().excess_bytes
        while self.taken_bytes < goal and self._free().excess_bytes > 0:
            if (now := self._clock()) - began > LIMIT_S:
                break
            if now - said > _PROGRESS_S:
                said = now
                print(
                    f"  memory: {self._free().excess_bytes / 1e9:.1f} GB to go", file=sys.stderr, flush=True
                )
            self._chunks.append(_broken(min(_HUGE, self._block_bytes)))

    def ready(self, part: str) -> None:
        """Top up before the rounds of a part, touch all pieces, and remember for the report what is free."""
        if self._block_bytes is None:
            return
        self.top_up()
        self._touch_pieces()
        free = self._free()
        self._notes.append(f"{part} {free.free_bytes / 1e9:.1f} GB ({free.whole_bytes / 1e9:.1f} GB)")

    def _touch_pieces(self) -> None:
        """Have the page cache of an empty file pass through the small pieces, until whole blocks are next.

        Pieces that are older than the ballast may be the rest of a block that the host had taken.
        """
        free, began = self._free(), self._clock()
        path = self._folder / "empty"
        with path.open("xb", buffering=0) as file:
            file.truncate(free.free_bytes)
        buffer = bytearray(_READ_BYTES)
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # by single pages
            for _ in range((free.free_bytes - free.whole_bytes) // _READ_BYTES):
                if self._free().whole_bytes < free.whole_bytes - _CHUNK_BYTES:
                    break
                if self._clock() - began > LIMIT_S:
                    break
                file.readinto(buffer)
        path.unlink()

    def words(self) -> str:
        """What was noted, for the report; empty where nothing is ever held."""
        if not self._notes:
            return ""
        assert self._block_bytes is not None
        return (
            f"Free as rounds began, and in brackets in blocks of {self._block_bytes >> 10} KiB and more,\n"
            f"which the host may have taken: {', '.join(self._notes)}."
        )


def _broken(block_bytes: int) -> mmap.mmap:
    """Take huge pages of free memory, touch them, and give all but the first page of each block back."""
    chunk = mmap.mmap(-1, _CHUNK_BYTES + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(chunk))
    first = -address % _HUGE
    chunk.madvise(mmap.MADV_HUGEPAGE)
    for huge in range(first, first + _CHUNK_BYTES, _HUGE):
        chunk[huge] = 1
        # The kernel keeps a huge page whole as long as a part of it is mapped, unless it was marked as free.
        for block in range(huge, huge + _HUGE, block_bytes):
            chunk.madvise(mmap.MADV_FREE, block + _PAGE, block_bytes - _PAGE)
            chunk.madvise(mmap.MADV_DONTNEED, block + _PAGE, block_bytes - _PAGE)
    return chunk
