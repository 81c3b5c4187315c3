"""Reads of staging files: what a caller may name, and the memory that it is copied to."""

import os
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from memory_service.boundary.checks import check_size
from memory_service.errors import InvalidArgument
from memory_service.local import PROOF_BYTES

Extents: TypeAlias = Sequence[tuple[int, int, str]]
"""Offset and length of each, bytes; the text names the field in errors."""


class Buffers:
    """Memory that is used for one block after another. Safe for threads.

    Pages touched anew cost more than copying; so some is kept, however many threads there are.
    """

    def __init__(self, max_spare: int = 8) -> None:
        self._spare: deque[bytearray] = deque(maxlen=max_spare)

    def take(self, num_bytes: int) -> bytearray:
        """At least so many bytes, nobody else's until they are given back."""
        try:
            buffer = self._spare.pop()
        except IndexError:
            return bytearray(num_bytes)
        return buffer if len(buffer) >= num_bytes else bytearray(num_bytes)

    def give_back(self, buffer: bytearray) -> None:
        """Nobody may look at it any more: the next one to take it writes to it."""
        self._spare.append(buffer)

    def clear(self) -> None:
        """Keep none but those that are taken."""
        self._spare.clear()

    @property
    def num_spare(self) -> int:
        return len(self._spare)


def extents_bytes(extents: Extents, size: int, most: int) -> int:
    """Bytes of all extents of a staging file of `size` bytes, at most `most`.

    Raises InvalidArgument unless they are inside it, TooLarge.
    """
    for offset, length, field in extents:
        if offset < PROOF_BYTES or length < 0 or offset + length > size:
            raise InvalidArgument(
                f"[{offset}, {offset + length}) is outside the staging file",
                field=field,
                expected=f"inside [{PROOF_BYTES}, {size})",
            )
    total = sum(length for _, length, _ in extents)
    if total > size - PROOF_BYTES:  # places may overlap, and must not ask for any amount of memory
        raise InvalidArgument(
            f"{total} bytes are named of a smaller staging file",
            field="block.parts",
            expected=f"at most {size - PROOF_BYTES}",
        )
    check_size(total, most, "block", "one block")
    return total


def read_extents(fd: int, into: bytearray, extents: Extents) -> list[memoryview]:
    """The extents, read to the start of `into` one after the other.

    Raises InvalidArgument naming the field where the file ends too early: its owner has shortened it.
    """
    whole = memoryview(into)
    _read_runs(fd, whole, extents)
    kept, pieces, start = whole.toreadonly(), [], 0
    for _, length, _ in extents:
        pieces.append(kept[start : start + length])
        start += length
    return pieces


def _read_runs(fd: int, into: memoryview, extents: Extents) -> None:
    """Extents that follow each other in the file as well are read by one call."""
    start = first = 0
    while first < len(extents):
        begin = end = extents[first][0]
        last = first
        while last < len(extents) and extents[last][0] == end:
            end += extents[last][1]
            last += 1
        missing = end - begin - os.preadv(fd, [into[start : start + end - begin]], begin)
        if missing:
            offset, length, field = next(one for one in extents[first:last] if sum(one[:2]) > end - missing)
            raise InvalidArgument(
                "the staging file is too short", field=field, expected=f"{length} bytes at {offset}"
            )
        start, first = start + end - begin, last
