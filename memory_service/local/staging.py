"""The client's side of writing: payloads put where the server finds them."""

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from memory_service.local import PROOF_BYTES
from memory_service.types import Buffer

_ALIGN = 64

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

    @contextmanager
    def staged(self, payloads: Sequence[Buffer]) -> Iterator[Places | None]:
        """Offset and length of each payload while inside the `with`; None where there is no room for them."""
        lengths = [memoryview(payload).nbytes for payload in payloads]
        start = self._take(sum(map(_aligned, lengths)))
        if start is None:
            yield None
            return
        try:
            extents, offset = [], start
            for payload, length in zip(payloads, lengths, strict=True):
                self._bytes[offset : offset + length] = np.frombuffer(payload, np.uint8) if length else 0
                extents.append((offset, length))
                offset += _aligned(length)
            yield extents
        finally:
            with self._lock:
                del self._taken[start]

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


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
