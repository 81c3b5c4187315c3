"""The attention window that a video was made with, as its writer noted it in the video's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memory_service.types import Span


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Latent frames that each block attends beside what it retrieves. `local_frames` include the block."""

    block_frames: int
    sink_frames: int
    local_frames: int
    latent_fps: float | None = None
    """Latent frames per second of video; None: times are not known."""

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Layout | None:
        """None where the writer noted no window: the memory does not need to know it."""
        try:
            window, sink, top_k, block = (
                int(metadata[name]) for name in ("window_frames", "sink_frames", "top_k", "block_frames")
            )
        except KeyError:
            return None
        fps = float(metadata["latent_fps"]) if "latent_fps" in metadata else None
        return Layout(
            block_frames=block, sink_frames=sink, local_frames=window - sink - top_k, latent_fps=fps
        )

    def sink(self, start: int) -> Span:
        """Sink frames of the block that starts at `start`."""
        return Span(0, min(self.sink_frames, start))

    def local(self, start: int) -> Span:
        """Local frames of the block that starts at `start`, its own frames last."""
        stop = start + self.block_frames
        return Span(max(min(self.sink_frames, start), stop - self.local_frames), stop)
