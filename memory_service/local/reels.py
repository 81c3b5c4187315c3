"""The client's side of reading: bytes of the server's reels, mapped read-only."""

import os
import threading
from collections import OrderedDict
from pathlib import Path

from memory_service.growing_map import GrowingMap
from memory_service.types import ReelExtent

_MAX_MAPS = 48
"""Reels that stay mapped. Each takes up to ten file descriptors, of which a process has a thousand or so."""


class MappedReels:
    """Maps of reel files below one directory. Safe for threads; views stay valid while referenced."""

    def __init__(self, data_dir: Path) -> None:
        """Raises OSError where the directory cannot be opened."""
        self._root = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._maps: OrderedDict[tuple[str, int], GrowingMap] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, extent: ReelExtent) -> memoryview:
        """The bytes as they are in the file; the caller verifies them.

        Raises OSError where the file cannot be opened, is another one by now, or is too short.
        """
        key = extent.path, extent.inode
        with self._lock:
            if self._root < 0:
                raise FileNotFoundError("the directory is closed")
            data = self._maps.get(key)
            if data is None:
                data = self._maps[key] = GrowingMap()
            self._maps.move_to_end(key)
            if len(self._maps) > _MAX_MAPS:
                self._maps.popitem(last=False)
            found = data.view(extent.offset, extent.length)
            if found is None:
                self._grow(data, extent)
                found = data.view(extent.offset, extent.length)
        if found is None:
            raise FileNotFoundError(f"{extent.path} has no piece of {extent.length} bytes")
        return found

    def close(self) -> None:
        """Forget all maps; views that are in use stay valid."""
        with self._lock:
            self._maps.clear()
            if self._root >= 0:
                os.close(self._root)
                self._root = -1

    def _grow(self, data: GrowingMap, extent: ReelExtent) -> None:
        pool, _, name = extent.path.partition("/")
        if not name or "/" in name or pool.startswith(".") or name.startswith("."):
            raise FileNotFoundError(f"{extent.path!r} names no reel")
        folder = os.open(pool, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            found = os.fstat(fd)
            if found.st_ino != extent.inode:
                raise FileNotFoundError(f"{extent.path} is another file by now")
            if extent.offset < 0 or extent.length < 0 or extent.offset + extent.length > found.st_size:
                raise FileNotFoundError(f"{extent.path} ends before the bytes that were named")
            data.grow(fd, found.st_size)
        finally:
            os.close(fd)
