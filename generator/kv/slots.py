"""The keys and values that attention reads: one frame per slot, keys rotated, the block itself first.

Attention does not depend on the order of keys, so a frame that keeps its temporal position from one block to
the next keeps its slot: the sink and most retrieved frames are rotated, and moved from the host, only once.
A retrieved frame that leaves its slot is parked in the tiers.
Shapes: M context frames, n frames of the block, F tokens per frame, D = head dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from generator.configs import Geometry, Window
from generator.errors import MissingKVError
from generator.kv.kv_cache import KVCache
from generator.methods.context import Context, Placed
from generator.wan.attention import Store, TextKV
from generator.wan.kv_shape import KEY, VALUE
from generator.wan.rope import Phases, Rotation
from memory_service.types import Handle

Rotated: TypeAlias = tuple[Tensor, Tensor]
"""Rotated keys and values [layers, F, heads, D] of one frame."""


class FrameSlots:
    """Rotated keys and values [layers, W * F, heads, D] of everything that the current block attends.

    `reserved_tokens` come before the block, for whoever attends more than frames. `in_order` gives attention
    the context in its order and the block behind it, as the reference has them: the same but for the order in
    which sums are rounded, at the price of moving and rotating more.
    """

    def __init__(
        self,
        cache: KVCache,
        geometry: Geometry,
        window: Window,
        rotation: Rotation,
        reserved_tokens: int = 0,
        in_order: bool = False,
    ) -> None:
        self.cache = cache
        self.geometry = geometry
        self.rotation = rotation
        self.first_token = reserved_tokens
        self._in_order = in_order
        self._block_frames = window.block_frames
        shape = cache.shape
        tokens = reserved_tokens + window.window_frames * shape.tokens_per_frame
        size = (shape.layers, tokens, shape.heads, shape.head_dim)
        self.keys = torch.empty(size, dtype=shape.dtype, device=shape.device)
        self.values = torch.empty_like(self.keys)
        self._held: list[Placed | None] = [None] * (window.window_frames - window.block_frames)
        self.end_token = 0

    def load(self, context: Context) -> None:
        """Bring the context into the slots, leaving in place what is there already.

        Raises MissingKVError, KVBudgetError.
        """
        self._bring(context)
        self.cache.begin(context.span, context.kept)
        if self.cache.tiers is not None:
            self.cache.tiers.loaded()

    def reload(self, context: Context, frames: Iterable[int]) -> None:
        """Begin a finished block anew; its clean pass changes the keys and values of these frames of it.

        Raises MissingKVError.
        """
        self.cache.reopen(context.span, frames)
        self._held = [
            placed if placed and isinstance(placed.source, Handle) else None for placed in self._held
        ]
        self._bring(context)
        if self.cache.tiers is not None:
            self.cache.tiers.loaded()

    def prefetch(self, handles: Sequence[Handle]) -> None:
        """Begin to bring frames that the next block attends; see `KVTiers.prefetch`."""
        if self.cache.tiers is not None:
            held = {placed.source for placed in self._held if placed is not None}
            self.cache.tiers.prefetch([handle for handle in handles if handle not in held])

    def held(self) -> Iterator[Handle]:
        """Frames whose keys and values are at hand, so that their latents are not needed."""
        sources = (placed.source for placed in self._held if placed is not None)
        yield from (source for source in sources if isinstance(source, Handle))
        if self.cache.tiers is not None:
            yield from self.cache.tiers.held()

    def _bring(self, context: Context) -> None:
        self.context = context
        frames, before = context.frames, self._held
        staying = self._staying(frames)
        missing = [placed for placed in frames if placed not in staying]
        moved = {placed: self._copied(before.index(placed)) for placed in missing if placed in before}
        self._prepare(context, [placed for placed in missing if placed not in moved])
        self._held = staying + [None] * (len(before) - len(staying))
        free = [slot for slot in range(len(frames)) if self._held[slot] is None]
        leaving = {slot: placed for slot, placed in enumerate(before) if placed not in frames}
        for slot in range(len(frames), len(before)):
            self._park(slot, leaving.get(slot))
        for slot, placed in zip(free, missing, strict=True):
            self._fill(slot, placed, leaving.get(slot), moved)
        self.end_token = self._token(len(frames))

    def attended(self, text: TextKV, store: Store | None = None) -> AttendedFrames:
        """What the passes of the loaded block attend; with `store`, what the clean pass attends."""
        return AttendedFrames(
            self.keys[:, self.first_token : self.end_token],
            self.values[:, self.first_token : self.end_token],
            self.phases(self.context.query_positions),
            self.phases(self.context.key_positions),
            self.rotation,
            text,
            store,
            self._in_order,
        )

    def recached(self, text: TextKV) -> AttendedFrames:
        if self.cache.tiers is not None:
            self.cache.tiers.before_writing()
        return self.attended(text, self.cache.write)

    def phases(self, positions: tuple[int, ...]) -> Phases:
        """Phases of whole frames at these temporal positions."""
        shape, grid = self.cache.shape, self.geometry
        return self.rotation.phases(positions, grid.rows, grid.columns, shape.head_dim, shape.device)

    def _staying(self, frames: tuple[Placed, ...]) -> list[Placed | None]:
        """What stays in each of the first slots, which these frames will fill."""
        if self._in_order:
            pairs = zip(self._held, frames, strict=False)
            return [placed if placed == wanted else None for placed, wanted in pairs]
        return [placed if placed in frames else None for placed in self._held[: len(frames)]]

    def _prepare(self, context: Context, missing: Sequence[Placed]) -> None:
        """Make sure that every retrieved frame is somewhere, and count those that stay."""
        handles = [placed.source for placed in missing if isinstance(placed.source, Handle)]
        tiers = self.cache.tiers
        if tiers is None:
            if handles:
                raise MissingKVError(handles)
            return
        for placed in context.retrieved:
            if placed not in missing and isinstance(placed.source, Handle):
                tiers.stays(placed.source)
        tiers.prepare(handles)

    def _fill(
        self, slot: int, placed: Placed, leaving: Placed | None, moved: Mapping[Placed, Rotated]
    ) -> None:
        """Let a frame take the slot of another, which is parked only after the first is at hand."""
        tiers, source, tokens = self.cache.tiers, placed.source, self._tokens(slot)
        found = None
        if placed not in moved and isinstance(source, Handle):
            assert tiers is not None
            found = tiers.take(source, placed.position)
        self._park(slot, leaving)
        if placed in moved:
            self.keys[:, tokens], self.values[:, tokens] = moved[placed]
        else:
            slab = self.cache.slab(source) if found is None else found.slab
            turned = found is not None and found.position is not None
            keys, phases = slab[:, KEY], self.phases((placed.position,))
            self.keys[:, tokens] = keys if turned else self.rotation.rotate(keys, phases)
            self.values[:, tokens] = slab[:, VALUE]
        if found is not None:
            tiers.give(found)
        self._held[slot] = placed

    def _park(self, slot: int, placed: Placed | None) -> None:
        """Keep what a slot holds, if it was retrieved: the window has all other frames."""
        if placed is not None and isinstance(placed.source, Handle) and self.cache.tiers is not None:
            tokens = self._tokens(slot)
            self.cache.tiers.park(
                placed.source, placed.position, self.keys[:, tokens], self.values[:, tokens]
            )

    def _copied(self, slot: int) -> Rotated:
        tokens = self._tokens(slot)
        return self.keys[:, tokens].clone(), self.values[:, tokens].clone()

    def _tokens(self, slot: int) -> slice:
        return slice(self._token(slot), self._token(slot + 1))

    def _token(self, slot: int) -> int:
        """First token of a slot; slots come after the block."""
        return self.first_token + (self._block_frames + slot) * self.cache.shape.tokens_per_frame


@dataclass(frozen=True)
class AttendedFrames:
    """What one pass attends.

    `keys` and `values` [layers, tokens, heads, D] hold rotated context after the first N tokens, which the
    pass fills with its own. `store` receives the un-rotated keys and values of each layer in the clean pass,
    and is None in the passes before it.
    """

    keys: Tensor
    values: Tensor
    query_phases: Phases
    key_phases: Phases
    rotation: Rotation
    text: TextKV
    store: Store | None = None
    in_order: bool = False

    def exchange(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens = key.shape[1]
        keys, values = self.keys[layer], self.values[layer]
        keys[:tokens] = self.rotation.rotate(key, self.key_phases)[0]
        values[:tokens] = value[0]
        if self.store is not None:
            self.store(layer, key, value)
        if self.in_order:
            keys, values = keys.roll(-tokens, dims=0), values.roll(-tokens, dims=0)
        return self.rotation.rotate(query, self.query_phases), keys, values
