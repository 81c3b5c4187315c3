"""What a rollout needs of the keys and values that its blocks attend, whatever the method keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from generator.methods.context import Context
from generator.wan.attention import Attended, TextKV
from memory_service.types import Handle


class ContextCache(Protocol):
    """Keys and values of one rollout: of frames (`FrameSlots`), or of frames and tokens (`TokenSlots`)."""

    def load(self, context: Context) -> None:
        """Begin a block: make room for it and bring together what it attends. Raises MissingKVError."""

    def reload(self, context: Context, frames: Iterable[int]) -> None:
        """Begin a finished block anew: its clean pass changes the keys and values of these frames of it."""

    def prefetch(self, handles: Sequence[Handle]) -> None:
        """Begin to bring retrieved frames of the next block, while this one is still made; in any thread."""

    def held(self) -> Iterable[Handle]:
        """Evicted frames whose keys and values are at hand, of any video; some may come twice."""

    def attended(self, text: TextKV) -> Attended:
        """For the passes that denoise the loaded block."""

    def recached(self, text: TextKV) -> Attended:
        """For its clean pass, which leaves the block's keys and values in the cache."""
