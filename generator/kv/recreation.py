"""The last tier: keys and values made anew from a frame's latent, by a clean pass; see docs/kv.md.

Layer 0 knows nothing but the latent and comes out as it was. Deeper layers depend on what the frame attended
when it was made: its block, the sink, the frames before it and those retrieved for it. A layout says how much
of that a re-created frame gets; docs/kv.md has what each changes.

    alone            the frame
    with_sink        the frame, and its video's sink
    block_with_sink  its whole block, and its video's sink

Each keeps the temporal position that it had. The first block, which attended nothing else, comes back whole.
Frames of other videos are re-created in the same way under the prompt of now, for theirs is not known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from generator.configs import Geometry, Window
from generator.errors import MissingKVError
from generator.kv.clock import PassClock
from generator.kv.modes import Layout
from generator.kv.slots import AttendedFrames
from generator.kv.traffic import Traffic
from generator.methods.context import slot
from generator.wan.attention import TextKV
from generator.wan.causal_wan import CausalWan
from generator.wan.kv_shape import KEY, VALUE
from memory_service.errors import NotFound
from memory_service.types import Handle, Span


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What of a rollout its re-created frames need."""

    handle_of: Callable[[int], Handle]
    """Of the rollout's own frames."""

    latents: Callable[[Sequence[Handle]], Tensor]
    """Latents [n, C, H, W] of frames of any video. Raises NotFound."""

    sink: Callable[[int], Tensor]
    """The un-rotated slab of one of the rollout's own sink frames."""

    text: Callable[[int | None], TextKV]
    """The prompt of one of its own frames, or for None that of now."""


class Recreation:
    """Re-creates frames for one rollout."""

    def __init__(
        self,
        model: CausalWan,
        geometry: Geometry,
        window: Window,
        clean: Tensor,
        layout: Layout,
        around: Surroundings,
    ) -> None:
        """clean: the timestep of the clean pass."""
        self._model, self._geometry, self._window = model, geometry, window
        self._shape = model.kv_shape(geometry)
        self._clean, self._layout, self._around = clean, layout, around
        self._latents: dict[Handle, Tensor] = {}
        self._other_sink: tuple[Handle, list[Tensor]] | None = None
        self._clock = PassClock(self._shape.device)
        self._alone = 0
        self._lock = threading.Lock()

    def fetch(self, handles: Sequence[Handle]) -> None:
        """Latents of these frames and of their surroundings, as far as the memory has them."""
        needed = {needed: None for handle in handles for needed in (handle, *self._surroundings(handle))}
        with self._lock:
            absent = [handle for handle in needed if handle not in self._latents]
            if absent:
                self._latents |= self._fetched(absent)

    def recreate(self, handles: Sequence[Handle]) -> dict[Handle, Tensor]:
        """New un-rotated slabs, a pass per block. Raises MissingKVError."""
        self.fetch(handles)
        missing = [handle for handle in handles if handle not in self._latents]
        if missing:
            raise MissingKVError(missing)
        made: dict[Handle, Tensor] = {}
        with self._clock:
            for _, group in groupby(sorted(handles, key=self._place), key=self._place):
                made |= self._of_one_block(list(group))
        self._latents.clear()
        return made

    def taken(self) -> Traffic:
        alone, self._alone = self._alone, 0
        return Traffic(recreated_alone=alone, recreation_ms=self._clock.taken_ms())

    def _of_one_block(self, handles: list[Handle]) -> dict[Handle, Tensor]:
        known = all(needed in self._latents for needed in self._surroundings(handles[0]))
        if self._layout == "alone" or not known:
            self._alone += 0 if known else len(handles)
            passes, sink = [[handle] for handle in handles], []
        else:
            whole = self._layout == "block_with_sink"
            passes = [self._mates(handles[0])] if whole else [[handle] for handle in handles]
            sink = self._sink(handles[0])
        made: dict[Handle, Tensor] = {}
        for together in passes:
            slabs = self.passed(together, sink, [handle for handle in together if handle in handles])
            made |= slabs
        return made

    def passed(
        self, together: Sequence[Handle], sink: Sequence[Tensor], wanted: Sequence[Handle]
    ) -> dict[Handle, Tensor]:
        """Slabs of the `wanted` among frames of one block that are passed together, behind a sink."""
        span, tokens = self._span(together[0]), self._shape.tokens_per_frame
        positions = tuple(slot(self._window, span, handle.frame) for handle in together)
        own = self._around.handle_of(together[0].frame) == together[0]
        made = {handle: self._shape.new_slab() for handle in wanted}

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            for index, handle in enumerate(together):
                if handle in made:
                    part = slice(index * tokens, (index + 1) * tokens)
                    made[handle][layer, KEY].copy_(keys[0, part])
                    made[handle][layer, VALUE].copy_(values[0, part])

        keys, values = self._behind(len(together), sink)
        rotation, phases = self._model.rotation, self._phases(positions)
        text = self._around.text(together[0].frame if own else None)
        attended = AttendedFrames(keys, values, phases, phases, rotation, text, store, self._model.in_order)
        latents = torch.stack([self._latents[handle] for handle in together])
        self._model.flow(latents.to(self._shape.device, self._shape.dtype), self._clean, attended)
        return made

    def _behind(self, frames: int, sink: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Room for a block's rotated keys and values, and the sink's behind it."""
        shape, tokens = self._shape, self._shape.tokens_per_frame
        size = (shape.layers, (frames + len(sink)) * tokens, shape.heads, shape.head_dim)
        keys = torch.empty(size, dtype=shape.dtype, device=shape.device)
        values = torch.empty_like(keys)
        for frame, slab in enumerate(sink):
            part = slice((frames + frame) * tokens, (frames + frame + 1) * tokens)
            keys[:, part] = self._model.rotation.rotate(slab[:, KEY], self._phases((frame,)))
            values[:, part] = slab[:, VALUE]
        return keys, values

    def _sink(self, handle: Handle) -> list[Tensor]:
        """Slabs of the sink that a frame attended, of its own video."""
        frames = range(min(self._window.sink_frames, self._span(handle).start))
        if self._is_own(handle):
            return [self._around.sink(frame) for frame in frames]
        first = _other(handle, 0)
        if self._other_sink is None or self._other_sink[0] != first:
            made: dict[Handle, Tensor] = {}
            for start in range(0, self._window.sink_frames, self._window.block_frames):
                mates = self._mates(_other(handle, start))
                made |= self.passed(mates, [*made.values()][: self._window.sink_frames], mates)
            self._other_sink = first, [*made.values()][: self._window.sink_frames]
        return self._other_sink[1][: len(frames)]

    def _surroundings(self, handle: Handle) -> list[Handle]:
        """Other frames whose latents the layout takes."""
        if self._layout == "alone":
            return []
        mates = self._mates(handle) if self._layout == "block_with_sink" else []
        if self._is_own(handle) or self._span(handle).start == 0:
            return mates
        starts = range(0, self._window.sink_frames, self._window.block_frames)
        return mates + [mate for start in starts for mate in self._mates(_other(handle, start))]

    def _mates(self, handle: Handle) -> list[Handle]:
        """All frames of a frame's block, itself included."""
        frames = range(self._span(handle).start, self._span(handle).stop)
        own = self._is_own(handle)
        return [self._around.handle_of(frame) if own else _other(handle, frame) for frame in frames]

    def _is_own(self, handle: Handle) -> bool:
        return self._around.handle_of(handle.frame) == handle

    def _span(self, handle: Handle) -> Span:
        start = handle.frame - handle.frame % self._window.block_frames
        return Span(start, start + self._window.block_frames)

    def _place(self, handle: Handle) -> tuple[str, str, int, int]:
        return handle.key.pool, handle.key.video, handle.epoch, self._span(handle).start

    def _phases(self, positions: tuple[int, ...]) -> tuple[Tensor, ...]:
        grid, shape = self._geometry, self._shape
        return self._model.rotation.phases(positions, grid.rows, grid.columns, shape.head_dim, shape.device)

    def _fetched(self, handles: Sequence[Handle]) -> dict[Handle, Tensor]:
        try:
            return dict(zip(handles, self._around.latents(handles), strict=True))
        except NotFound:
            if len(handles) == 1:
                return {}
        return {handle: latent for each in handles for handle, latent in self._fetched([each]).items()}


def _other(handle: Handle, frame: int) -> Handle:
    """Another frame of the video of a handle, of the same epoch."""
    return Handle(handle.key, handle.epoch, frame)
