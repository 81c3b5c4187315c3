"""The blocks of a video that the memory already has when a rollout goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from generator.errors import PlanError
from generator.history.payloads import latents_of
from generator.history.recalled import Recalled
from generator.history.replay import EXACT
from memory_service.memory import Memory
from memory_service.types import LATENT, Handle, Query, Span, VideoInfo, VideoKey

SEARCHED_AT_ONCE = 4096
"""Frames that one search may return."""


@dataclass(frozen=True)
class PastBlock:
    """One block as the memory has it."""

    latents: Tensor
    """[n, C, H, W] in the dtype of the video, every bit as it was made."""
    embeddings: Tensor
    """float32 [n, D]."""
    attended: Recalled
    """What it had of the memory."""


class Past:
    """What there is of one video, for the one rollout that continues it."""

    def __init__(
        self, memory: Memory, info: VideoInfo, handles: Sequence[Handle], replay: str = EXACT
    ) -> None:
        """handles: of all frames of the video. `Past.taken_over` finds them. replay: see `Replay`."""
        self.key, self.spec, self.epoch = info.key, info.spec, info.state.epoch
        self.replay = replay
        self._memory = memory
        self._handles = handles
        # The replay of a block asks for it and for what the next one attended.
        self._block = lru_cache(maxsize=2)(self._fetch)

    @staticmethod
    def taken_over(memory: Memory, key: VideoKey, block_frames: int, replay: str = EXACT) -> Past:
        """The past of a video whose rollout ended or is given up: whoever still writes to it is fenced.

        Raises PlanError where the video does not consist of whole blocks, and ServiceError.
        """
        info = memory.get_video(key)
        if info.state.length % block_frames:
            raise PlanError(f"video {key} has {info.state.length} frames; expected blocks of {block_frames}")
        info = memory.truncate_video(key, info.state.length, epoch=info.state.epoch)
        return Past(memory, info, handles_of(memory, info), replay)

    @property
    def length(self) -> int:
        """Frames that are there."""
        return len(self._handles)

    def handle(self, frame: int) -> Handle:
        """The handle under which the memory has a frame; it names the epoch in which that was appended."""
        return self._handles[frame]

    def block(self, span: Span) -> PastBlock:
        """A block that is there. Raises ServiceError."""
        return self._block(span)

    def _fetch(self, span: Span) -> PastBlock:
        frames = self._memory.fetch(self._handles[span.start : span.stop], [LATENT])
        embeddings = torch.stack([torch.tensor(frame.embedding) for frame in frames])
        latents = latents_of([frame.parts[LATENT] for frame in frames], self.spec)
        return PastBlock(latents, embeddings, Recalled.of(frames[0].metadata, self.handle))


def handles_of(memory: Memory, info: VideoInfo) -> list[Handle]:
    """Handles of all frames of a video, in order: who searches for every frame is told every handle."""
    found: dict[int, Handle] = {}
    for start in range(0, info.state.length, SEARCHED_AT_ONCE):
        stop = min(start + SEARCHED_AT_ONCE, info.state.length)
        query = Query(k=stop - start, eligible=Span(start, stop), frame=start)
        (hits,) = memory.search(info.key, [query], log=False).hits
        found |= {hit.handle.frame: hit.handle for hit in hits}
    return [found[frame] for frame in range(info.state.length)]
