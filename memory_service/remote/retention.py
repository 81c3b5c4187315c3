"""Blocks that the server keeps, but that a loss of power could still take from it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from memory_service.types import VideoKey, VideoState
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.requests import HeldBlock


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of a video: the `blocks` that may not be durable yet, in order, never none.

    `stop` is the number of frames that were acknowledged in `epoch`.
    """

    epoch: int
    stop: int
    blocks: Sequence[pb.Block | HeldBlock]


@dataclass(slots=True)
class _Video:
    epoch: int
    stop: int
    blocks: dict[int, tuple[pb.Block | HeldBlock, int]] = field(default_factory=dict)
    """Start of a block -> the block and its size in bytes."""


class Retention:
    """Holds acknowledged blocks until the durable watermark has passed them. Safe for use by threads.

    `budget_bytes` bounds what is held of all videos together, provided that a block for which it is too
    `crowded` is appended with `sync` and so never held.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._num_bytes = 0
        self._videos: dict[VideoKey, _Video] = {}
        self._lock = threading.Lock()

    def crowded(self, num_bytes: int) -> bool:
        """True when a block of this size does not fit beside what is held."""
        with self._lock:
            return self._num_bytes + num_bytes > self._budget_bytes

    def keep(
        self, key: VideoKey, state: VideoState, block: pb.Block | HeldBlock, num_bytes: int, stop: int
    ) -> None:
        """Hold an acknowledged block that ends at frame `stop`; `state` came with the acknowledgement."""
        with self._lock:
            video = self._videos.get(key)
            if video is None or video.epoch != state.epoch:
                self._forget(key)
                video = self._videos[key] = _Video(state.epoch, stop)
            video.stop = max(video.stop, stop)
            if block.start not in video.blocks:
                video.blocks[block.start] = (block, num_bytes)
                self._num_bytes += num_bytes
            self._observe(key, state)

    def observe(self, key: VideoKey, state: VideoState) -> None:
        """Let go of what is durable by now."""
        with self._lock:
            self._observe(key, state)

    def forget(self, key: VideoKey) -> None:
        """Let go of a whole video."""
        with self._lock:
            self._forget(key)

    def videos(self) -> Sequence[VideoKey]:
        """The videos of which blocks are held."""
        with self._lock:
            return list(self._videos)

    def held(self, key: VideoKey) -> Held | None:
        """What is held of a video; None when that is nothing."""
        with self._lock:
            video = self._videos.get(key)
            if video is None:
                return None
            return Held(video.epoch, video.stop, [video.blocks[start][0] for start in sorted(video.blocks)])

    def _observe(self, key: VideoKey, state: VideoState) -> None:
        video = self._videos.get(key)
        if video is None or video.epoch != state.epoch:
            return
        # A block is durable as a whole, so one that starts before the watermark ends there or earlier.
        for start in [start for start in video.blocks if start < state.durable]:
            self._num_bytes -= video.blocks.pop(start)[1]
        if not video.blocks:
            del self._videos[key]

    def _forget(self, key: VideoKey) -> None:
        video = self._videos.pop(key, None)
        if video is not None:
            self._num_bytes -= sum(num_bytes for _, num_bytes in video.blocks.values())
