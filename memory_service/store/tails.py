"""Space that was allocated ahead of a reel's records and not given back, as its process ended too soon."""

import os
from pathlib import Path

from memory_service.errors import ServiceError
from memory_service.store.scan import FileSource, open_regular, scan

_BLOCK_BYTES = 4096
"""Space is allocated in whole blocks."""

_LOOK_BYTES = 64


def may_have_tail(size: int) -> bool:
    """Whether a reel of so many bytes may end in space allocated ahead; most that were closed cannot."""
    return size > 0 and size % _BLOCK_BYTES == 0


def give_back(path: Path, size: int) -> int:
    """Cut zeros behind the last record of a reel of `size` bytes that nobody has open; returns its size then.

    What is damaged or torn stays as it is, for whoever opens the reel to judge. Raises OSError.
    """
    try:
        fd = open_regular(path, os.O_RDWR)
    except ServiceError:
        return size
    try:
        if any(os.pread(fd, _LOOK_BYTES, size - _LOOK_BYTES)):
            return size
        found = scan(path, FileSource(fd), verify_all=False)
        if found.recovery is None and found.end < size:
            os.ftruncate(fd, found.end)
            return found.end
    except ServiceError:
        return size
    finally:
        os.close(fd)
    return size
