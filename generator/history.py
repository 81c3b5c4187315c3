"""The rollout's side of the memory: remember a block, recall what the next one needs.

Torch meets numpy here and nowhere else. One call per block runs in a thread of its own, so that it hides
behind the clean pass; what the loop had to wait for is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType

import torch
from torch import Tensor

from encoder.model import Encoder
from generator.errors import HistoryNotEmptyError
from memory_service.memory import Memory
from memory_service.types import LATENT, Block, Handle, Hit, Query, VideoKey, VideoSpec

DTYPE_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


@dataclass(frozen=True)
class Recalled:
    """Hits for one block, best first, and the seconds that each verb took in the background."""

    hits: tuple[Hit, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


class History:
    """One video in the memory, being written by one rollout.

    `fused` sends append and search as one `advance`: one round trip, and one time for both. Without it they
    are two calls and timed apart; the hits are the same.
    """

    def __init__(self, memory: Memory, key: VideoKey, spec: VideoSpec, *, fused: bool = True) -> None:
        """Create the video. Raises HistoryNotEmptyError and what `create_video` raises."""
        info = memory.create_video(key, spec)
        if info.state.length:
            raise HistoryNotEmptyError(key, info.state.length)
        self.key = key
        self.spec = spec
        self.epoch = info.state.epoch
        self._memory = memory
        self._fused = fused
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._pending: Future[Recalled] | None = None

    def handle(self, frame: int) -> Handle:
        """The handle of a frame of this video."""
        return Handle(self.key, self.epoch, frame)

    def remember(
        self,
        start: int,
        latents_FCHW: Tensor,
        embeddings_FD: Tensor,
        query: Query | None,
        *,
        known: Sequence[Handle] = (),
    ) -> None:
        """Start appending a block and searching for the next; `recall` gives the hits.

        query: what the next block may retrieve, None where nothing is eligible. known: frames whose keys and
        values the rollout holds, so that no latent of theirs is sent back.
        """
        assert self._pending is None, "recall the block before first"
        block = Block(start, embeddings_FD.float().cpu().numpy(), {LATENT: payloads(latents_FCHW, self.spec)})
        self._pending = self._executor.submit(self._exchange, block, query, tuple(known))

    def recall(self) -> Recalled:
        """Wait for what `remember` started. Raises the errors of the memory."""
        assert self._pending is not None, "remember a block first"
        pending, self._pending = self._pending, None
        return pending.result()

    def close(self) -> None:
        """Wait for a call under way; the memory stays open."""
        self._executor.shutdown(wait=True)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, block: Block, query: Query | None, known: Sequence[Handle]) -> Recalled:
        started = time.perf_counter()
        if query is not None and self._fused:
            answer = self._memory.advance(self.key, block, query, known=known, epoch=self.epoch)
            return Recalled(answer.hits, {"advance": time.perf_counter() - started})
        self._memory.append(self.key, block, epoch=self.epoch)
        appended = time.perf_counter()
        if query is None:
            return Recalled((), {"append": appended - started})
        last = replace(query, frame=block.span.stop - 1)
        (hits,) = self._memory.search(self.key, [last]).hits
        return Recalled(hits, {"append": appended - started, "search": time.perf_counter() - appended})


def video_spec(
    encoder: Encoder,
    latent_shape: tuple[int, ...],
    dtype: torch.dtype,
    metadata: Mapping[str, str] | None = None,
) -> VideoSpec:
    """What a video of this encoder and latent fixes at its creation."""
    return VideoSpec(
        encoder.embedding_dim, DTYPE_NAMES[dtype], latent_shape, encoder.encoder_id, dict(metadata or {})
    )


def payloads(latents_FCHW: Tensor, spec: VideoSpec) -> list[bytes]:
    """One latent frame each, in the video's dtype, little-endian, [C, H, W] row by row."""
    if tuple(latents_FCHW.shape[1:]) != tuple(spec.latent_shape):
        raise ValueError(f"latents must be [F, {spec.latent_shape}], got {tuple(latents_FCHW.shape)}")
    rows = latents_FCHW.detach().to("cpu", _dtype(spec)).flatten(1).contiguous()
    return [row.view(torch.uint8).numpy().tobytes() for row in rows]


def latents_of(frames: Sequence[bytes | memoryview], spec: VideoSpec) -> Tensor:
    """The inverse of `payloads`: latents [F, C, H, W] in the video's dtype."""
    rows = [
        torch.frombuffer(bytearray(data), dtype=_dtype(spec)).reshape(spec.latent_shape) for data in frames
    ]
    return torch.stack(rows)


def _dtype(spec: VideoSpec) -> torch.dtype:
    return next(dtype for dtype, name in DTYPE_NAMES.items() if name == spec.latent_dtype)
