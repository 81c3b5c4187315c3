"""The client's side of writing: payloads put where the server finds them."""

import fcntl
import mmap
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from memory_service.local import PROOF_BYTES
from memory_service.types import Buffer

_ALIGN = 64
_NOTHING = np.empty(0, np.uint8)
"""numpy refuses to view an empty buffer."""

Places: TypeAlias = list[tuple[int, int]]
"""Offset and length of each of some payloads."""


class Staging:
    """A staging file, locked for as long as it is open and mapped for writing. Safe for threads."""

    def __init__(self, path: Path, num_bytes: int, proof: bytes) -> None:
        """Open the server's file. Raises OSError where it is not there or not the one that is meant."""
        self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(self._fd).st_size != num_bytes or os.pread(self._fd, PROOF_BYTES, 0) != proof:
                raise FileNotFoundError(f"{path} is another file than the server's")
            self._bytes = np.frombuffer(mmap.mmap(self._fd, num_bytes), np.uint8)
        except BaseException:
            os.close(self._fd)
            raise
        self._taken: dict[int, int] = {}
        self._lock = threading.Lock()

    def staged(self, payloads: Sequence[Buffer]) -> "Staged":
        """To be used in a `with`: offset and length of each payload inside; None where there is no room."""
        return Staged(self, payloads)

    def put(self, payloads: Sequence[Buffer]) -> Places | None:
        """Copy the payloads to where they stay until `release`; None where there is no room for them."""
        if not payloads:
            return []
        flat = [np.frombuffer(data, np.uint8) if memoryview(data).nbytes else _NOTHING for data in payloads]
        offset = self._take(sum([_aligned(len(data)) for data in flat]))
        if offset is None:
            return None
        places = []
        for data in flat:
            length = len(data)
            self._bytes[offset : offset + length] = data
            places.append((offset, length))
            offset += _aligned(length)
        return places

    def release(self, places: Places) -> None:
        """Give the room of some payloads back."""
        if places:
            with self._lock:
                del self._taken[places[0][0]]

    def close(self) -> None:
        """Give up the lock; the server removes the file."""
        os.close(self._fd)

    def _take(self, size: int) -> int | None:
        """Where `size` free bytes start: the first gap between those taken."""
        with self._lock:
            start = PROOF_BYTES
            for taken, length in sorted(self._taken.items()):
                if start + size <= taken:
                    break
                start = taken + length
            if start + size > len(self._bytes):
                return None
            self._taken[start] = max(size, _ALIGN)
            return start


class Staged:
    """Payloads that lie in a staging file while inside the `with`."""

    __slots__ = ("_payloads", "_places", "_staging")

    def __init__(self, staging: Staging, payloads: Sequence[Buffer]) -> None:
        self._staging = staging
        self._payloads = payloads
        self._places: Places | None = None

    def __enter__(self) -> Places | None:
        self._places = self._staging.put(self._payloads)
        return self._places

    def __exit__(self, *_how: object) -> None:
        if self._places is not None:
            self._staging.release(self._places)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
