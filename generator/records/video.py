"""Pixel frames in and out of H.264 files.

Shapes: n pixel frames, H and W pixels; frames are uint8 [n, H, W, 3], RGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

QUALITY_CRF = "18"
"""Visually lossless for flat, magnified pictures; 60 s of the toy take about 1 MB."""

WATCHABLE_HEIGHT = 256

GROWING = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
"""Options of a file that is complete after every frame."""


def magnify(frames: Pixels, factor: int) -> Pixels:
    """Repeat every pixel `factor` times in both directions: small frames become watchable, not blurred."""
    return frames if factor == 1 else frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def watchable_factor(height: int) -> int:
    """Smallest whole factor that makes frames at least `WATCHABLE_HEIGHT` pixels high."""
    return max(1, -(-WATCHABLE_HEIGHT // height))


class VideoWriter:
    """Streams pixel frames into an mp4 (H.264, yuv420p) that can be watched while it grows.

    Until it is closed the file is a fragmented mp4, one frame a fragment: readers see all frames but the last
    at any time, also when the process dies. Closing writes it anew, without encoding, as a plain file whose
    index comes first.

    The first append fixes the size. Small frames are magnified by a whole factor until they are
    `WATCHABLE_HEIGHT` pixels high, unless `magnification` says otherwise. `fps` counts pixel frames.
    Closing without a frame raises ValueError, since players refuse an empty file.
    """

    def __init__(self, path: Path, *, fps: Fraction | float, magnification: int | None = None) -> None:
        self.path = path
        self.num_frames = 0
        self._fps = Fraction(fps).limit_denominator(1001)
        self._magnification = magnification
        self._container = av.open(str(path), mode="w", options=GROWING)
        self._stream: av.VideoStream | None = None

    def append(self, frames: Pixels) -> None:
        """Encode frames [n, H, W, 3]; their size must be that of the first ones."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames must be uint8 [n, H, W, 3], got {frames.dtype} {frames.shape}")
        if self._magnification is None:
            self._magnification = watchable_factor(frames.shape[1])
        frames = _even(magnify(frames, self._magnification))
        if self._stream is None:
            self._stream = self._open_stream(*frames.shape[1:3])
        size = self._stream.height, self._stream.width
        if frames.shape[1:3] != size:
            raise ValueError(f"frames must stay {size} pixels, got {frames.shape[1:3]}")
        for pixels in frames:
            self._encode(pixels)

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if self._stream is None:
            self.path.unlink(missing_ok=True)
            raise ValueError(f"no frame was written to {self.path}")
        _index_first(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()

    def _open_stream(self, height: int, width: int) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # Without looking ahead, so that no frame waits in the encoder for those after it.
        stream.options = {"crf": QUALITY_CRF, "preset": "superfast", "tune": "zerolatency"}
        # Two generators share two cores: an encoder with its own thread pool would take them from denoising.
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        return stream

    def _encode(self, pixels: Pixels) -> None:
        assert self._stream is not None
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = rgb.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self.num_frames, 1 / self._fps
        self._container.mux(self._stream.encode(frame))
        self.num_frames += 1


def read_frames(path: Path) -> Iterator[Pixels]:
    """Decode a video file, one [H, W, 3] frame at a time."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")


def frame_size(path: Path) -> tuple[int, int]:
    """Width and height of a video file in pixels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def _index_first(path: Path) -> None:
    """Replace a file by one with the same pictures whose index comes before them, as players over a network
    want it. Who has the old one open keeps it."""
    plain = path.with_name(f"{path.name}.part")
    with av.open(str(path)) as old, av.open(str(plain), "w", "mp4", {"movflags": "faststart"}) as new:
        pictures = old.streams.video[0]
        stream = new.add_stream_from_template(pictures)
        for packet in old.demux(pictures):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    plain.replace(path)


def _even(frames: Pixels) -> Pixels:
    """Repeat the last row or column where a size is odd: yuv420p halves both."""
    height, width = frames.shape[1:3]
    if height % 2 == width % 2 == 0:
        return frames
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
