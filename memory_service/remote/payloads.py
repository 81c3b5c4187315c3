"""Payloads that a client has fetched, so that a frame that is retrieved again costs no bytes."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from memory_service.types import Frame, Handle, Span, VideoKey
from memory_service.wire import bulk

_MAX_VIDEOS = 4096
"""Videos whose epoch is remembered."""


@dataclass(slots=True)
class _Video:
    epoch: int
    handles: dict[int, Handle] = field(default_factory=dict)
    """By frame number: within an epoch a number names one frame, whatever epoch its handle carries."""


class PayloadCache:
    """Frames by handle, the one used the longest ago goes first; safe for use by threads.

    At most `budget_bytes` are held; 0 holds nothing. Frames never change, but they can cease to be: by a
    truncation or by a drop, both of which start another epoch. So the frames of a video are held for the
    epoch in which it was last heard to be, and word of another one forgets them all.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._num_bytes = 0
        self._frames: OrderedDict[Handle, tuple[Frame, int]] = OrderedDict()
        self._videos: OrderedDict[VideoKey, _Video] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def observe(self, key: VideoKey, epoch: int) -> None:
        """The server has said that a video is in this epoch."""
        if not self._budget_bytes:
            return
        with self._lock:
            video = self._videos.get(key)
            if video is not None and video.epoch == epoch:
                return
            self._forget(key)
            self._videos[key] = _Video(epoch)
            if len(self._videos) > _MAX_VIDEOS:
                self._forget(next(iter(self._videos)))

    def epoch(self, key: VideoKey) -> int | None:
        """The epoch in which a video was last heard to be."""
        with self._lock:
            video = self._videos.get(key)
            return None if video is None else video.epoch

    def put(self, frame: Frame, epoch: int | None) -> None:
        """Hold a frame with all its parts, asked for in `epoch`, unless its video is in another by now."""
        if not self._budget_bytes:
            return
        num_bytes = bulk.frame_bytes(frame)
        handle = frame.handle
        with self._lock:
            video = self._videos.get(handle.key)
            if video is None or video.epoch != epoch or num_bytes > self._budget_bytes:
                return
            self._drop(video.handles.get(handle.frame))
            self._frames[handle] = _own(frame), num_bytes
            video.handles[handle.frame] = handle
            self._num_bytes += num_bytes
            while self._num_bytes > self._budget_bytes:
                self._drop(next(iter(self._frames)))

    def get(self, handle: Handle) -> Frame | None:
        """A frame that is held."""
        with self._lock:
            held = self._frames.get(handle)
            if held is None:
                return None
            self._frames.move_to_end(handle)
        return _own(held[0])

    def frames(self, key: VideoKey, span: Span) -> list[int]:
        """Numbers of the frames of a video within `span` that are held."""
        with self._lock:
            video = self._videos.get(key)
            if video is None:
                return []
            return [frame for frame in video.handles if span.start <= frame < span.stop]

    def forget(self, key: VideoKey) -> None:
        """Let go of a video."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: VideoKey) -> None:
        video = self._videos.pop(key, None)
        if video is not None:
            for handle in list(video.handles.values()):
                self._num_bytes -= self._frames.pop(handle)[1]

    def _drop(self, handle: Handle | None) -> None:
        if handle is not None:
            self._num_bytes -= self._frames.pop(handle)[1]
            del self._videos[handle.key].handles[handle.frame]


def _own(frame: Frame) -> Frame:
    """The same frame with mappings of its own; the payloads in them cannot be written to."""
    return replace(frame, parts=dict(frame.parts), named=dict(frame.named), metadata=dict(frame.metadata))
