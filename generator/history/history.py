"""The rollout's side of the memory: remember a block, recall what the next one needs.

One call per block runs in a thread of its own, so that it hides behind the clean pass; what the loop had to
wait for is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TypeAlias

import torch
from torch import Tensor

from encoder.model import Encoder
from generator.errors import HistoryNotEmptyError
from generator.history.outbox import Outbox, Parcel
from generator.history.past import Past, PastBlock
from generator.history.payloads import DTYPE_NAMES, latents_of, payloads
from generator.history.recalled import Recalled
from generator.history.replay import EXACT
from generator.story.searching import Search
from memory_service.memory import Memory
from memory_service.types import LATENT, Block, Handle, Hit, Span, VideoKey, VideoSpec

__all__ = ["DTYPE_NAMES", "History", "Recalled", "latents_of", "payloads", "video_spec"]

SETTLE_S = 60.0
"""How long the end of a rollout waits for the next block to be kept."""

Prepare: TypeAlias = Callable[[Sequence[Handle]], None]
"""Begins to bring frames of any video that the next block retrieves. Raises ServiceError."""


class History:
    """One video in the memory, being written by one rollout.

    `fused` sends append and search as one `advance`: one round trip, and one time for both. Without it they
    are two calls and timed apart; the hits are the same.
    """

    def __init__(
        self,
        memory: Memory,
        key: VideoKey,
        spec: VideoSpec,
        *,
        fused: bool = True,
        past: Past | None = None,
        patience_s: float | None = None,
    ) -> None:
        """Create the video, or go on with its `past`. patience_s: see `Outbox`.

        Raises HistoryNotEmptyError and what `create_video` raises.
        """
        if past is None:
            info = memory.create_video(key, spec)
            if info.state.length:
                raise HistoryNotEmptyError(key, info.state.length)
            past = Past(memory, info, ())
        self.key, self.spec, self.past = key, spec, past
        self._memory = memory
        self._fused = fused
        self._outbox = Outbox(key, self._exchange, patience_s=patience_s)
        self._pending: Recalled | Parcel | None = None
        self._prepare: Prepare = _nothing

    @contextmanager
    def preparing(self, prepare: Prepare) -> Iterator[None]:
        """Meanwhile call `prepare` with the frames of every answer before `recall` has it.

        In the thread that asked, beside the passes.
        """
        self._prepare = prepare
        try:
            yield
        finally:
            self._prepare = _nothing

    def handle(self, frame: int) -> Handle:
        """The handle of a frame of this video."""
        return (
            self.past.handle(frame) if frame < self.past.length else Handle(self.key, self.past.epoch, frame)
        )

    def latents(self, handles: Sequence[Handle]) -> Tensor:
        """Latents [n, C, H, W] of frames of any video, as the memory has them. Raises ServiceError."""
        return latents_of([frame.parts[LATENT] for frame in self._memory.fetch(handles, [LATENT])], self.spec)

    def made(self, span: Span) -> PastBlock | None:
        """A block that the memory had before the rollout went on; None for one that is to be made."""
        return self.past.block(span) if span.stop <= self.past.length else None

    def remember(
        self,
        start: int,
        latents_FCHW: Tensor,
        embeddings_FD: Tensor,
        search: Search,
        *,
        known: Sequence[Handle] = (),
        attended: Recalled = Recalled(),  # noqa: B008 (frozen)
    ) -> None:
        """Start appending a block and searching for the next; `recall` gives the hits.

        search: what the next block may retrieve. known: frames whose keys and
        values the rollout holds, so that no latent of theirs is sent back. attended: what this block had.
        A block of the past is not sent, but for the last, whose answer may have been lost.
        """
        assert self._pending is None, "recall the block before first"
        stop = start + len(latents_FCHW)
        if stop < self.past.length:
            self._pending = self.past.block(Span(stop, stop + len(latents_FCHW))).attended
            if self.past.replay == EXACT:
                self._prepare([hit.handle for hit in self._pending.hits])
            return
        data = {LATENT: payloads(latents_FCHW, self.spec)}
        embeddings = embeddings_FD.float().cpu().numpy()
        block = Block(start, embeddings, data, metadata=attended.metadata(self.key))
        self._pending = Parcel(block, search, tuple(known))
        self._outbox.put(self._pending)

    def recall(self) -> Recalled:
        """Wait for what `remember` started. Raises the errors of the memory."""
        assert self._pending is not None, "remember a block first"
        pending, self._pending = self._pending, None
        return self._outbox.answer(pending) if isinstance(pending, Parcel) else pending

    def settle(self, timeout_s: float = SETTLE_S) -> None:
        """Return when the memory has every block. Raises NotKeptError, and the errors of the memory."""
        self._outbox.settle(timeout_s)

    def close(self) -> None:
        """Wait for a call under way; the memory stays open."""
        self._outbox.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, parcel: Parcel) -> Recalled:
        block, search, known = parcel.block, parcel.search, parcel.known
        started = time.perf_counter()
        epoch, query = self.past.epoch, search.query
        found: list[Sequence[Hit]] = []
        if query is not None and self._fused:
            found.append(self._memory.advance(self.key, block, query, known=known, epoch=epoch).hits)
        else:
            self._memory.append(self.key, block, epoch=epoch)
        kept = time.perf_counter()
        seconds = {"advance" if found else "append": kept - started}
        queries = [*search.older] if query is None or found else [query, *search.older]
        if queries:
            last = block.span.stop - 1
            found += self._memory.search(self.key, [replace(each, frame=last) for each in queries]).hits
            seconds["search"] = time.perf_counter() - kept
        recalled = Recalled(search.best(found), seconds)
        if not parcel.settled.is_set():
            self._prepare([hit.handle for hit in recalled.hits])
        return recalled


def _nothing(handles: Sequence[Handle]) -> None:
    """Where nobody prepares."""


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
