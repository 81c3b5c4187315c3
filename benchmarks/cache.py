"""The page cache of a peer's files, which waits for its turn longer than a generator ever does."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 8 << 20


def read_again(folder: Path) -> int:
    """Have the data of all files under a folder in the page cache; returns the bytes read.

    A guest that reclaims what is cold drops the history of a peer that waits for half a minute, and then only
    those that keep files would pay. Room that was allocated and never written is left alone: whoever appends
    there still has to find pages.
    """
    buffer = memoryview(bytearray(_READ_BYTES))
    total = 0
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            if path.is_file() and not path.is_symlink():
                total += _read(path, buffer)
    return total


def _read(path: Path, buffer: memoryview) -> int:
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # databases replace their files, and may run as another user
        return 0
    total = 0
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
        for start, stop in _written(fd):
            for offset in range(start, stop, len(buffer)):
                total += os.preadv(fd, [buffer[: stop - offset]], offset)
    finally:
        os.close(fd)
    return total


def _written(fd: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of a file that hold data."""
    stop = 0
    while True:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            return
        stop = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, stop
