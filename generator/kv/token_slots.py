"""Keys and values of a method that keeps single tokens of older frames (Deep Forcing, section 3.2).

Per layer: [ chosen tokens | the block | sink and local frames ]. In the first pass of a block that
compresses, each layer chooses for itself, by the queries of the newest frames, before it attends.
Shapes: F tokens per frame, T candidates, D = head dimension.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from generator.configs import MAX_POSITION, Geometry, Window
from generator.kv.kv_cache import KVCache
from generator.kv.slots import AttendedFrames, FrameSlots
from generator.methods.context import Compression, Context
from generator.wan.attention import TextKV
from generator.wan.kv_shape import KEY, VALUE
from generator.wan.rope import Phases, Rotation, axis_dims, on_device
from memory_service.types import Handle


@dataclass(frozen=True)
class Tokens:
    """Single tokens of one layer, in temporal order."""

    keys: Tensor
    """[T, heads, D], un-rotated."""
    values: Tensor
    """[T, heads, D]."""
    frames: Tensor
    """int64 [T], the frame that each is from."""
    places: Tensor
    """int64 [T], its place in that frame, row by row."""
    uses: Tensor
    """int64 [T], how often each was chosen."""

    def at(self, indices: Tensor) -> Tokens:
        return Tokens(*(part[indices] for part in self._parts()))

    @staticmethod
    def joined(groups: list[Tokens]) -> Tokens:
        return Tokens(*(torch.cat(parts) for parts in zip(*(g._parts() for g in groups), strict=True)))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.keys, self.values, self.frames, self.places, self.uses


def scores(queries: Tensor, keys: Tensor) -> Tensor:
    """How much the newest frames attend each token, float32 [T]: q . k over all heads, no softmax.

    queries [heads, D]: the sum of the rotated queries of all their tokens; keys [T, heads, D], rotated.
    """
    heads, head_dim = queries.shape
    return keys.flatten(1).float() @ queries.flatten() / (sqrt(head_dim) * heads)


def best(scores: Tensor, count: int, uses: Tensor, reuse_limit: int | None, fresh: int = 0) -> Tensor:
    """Indices of the `count` highest scores among tokens that may be chosen once more, ascending.

    fresh: how many of the tokens were never chosen; where they suffice, nothing has to wait for the device.
    """
    if reuse_limit is not None:
        scores = scores.masked_fill(uses >= reuse_limit, -torch.inf)
    if fresh < count:
        count = min(count, int((scores > -torch.inf).sum()))
    return scores.topk(count).indices.sort().values


class TokenSlots:
    """Whole frames in slots, and before them the tokens that each layer chose of frames no longer whole."""

    def __init__(
        self,
        cache: KVCache,
        geometry: Geometry,
        window: Window,
        rotation: Rotation,
        compression: Compression,
    ) -> None:
        shape = cache.shape
        self._cache = cache
        self._room = compression.frames * shape.tokens_per_frame
        self._slots = FrameSlots(cache, geometry, window, rotation, reserved_tokens=self._room)
        self._queries = [deque[Tensor](maxlen=compression.recent_frames) for _ in range(shape.layers)]
        self._pending = [False] * shape.layers
        self.chosen: list[Tokens | None] = [None] * shape.layers
        self._spatial = rotation.phases((0,), geometry.rows, geometry.columns, shape.head_dim, shape.device)
        times = tuple(range(MAX_POSITION))
        self._temporal = rotation.phases(times, 1, 1, shape.head_dim, shape.device)

    def load(self, context: Context) -> None:
        """Bring whole frames into the slots; tokens are chosen in the block's first pass, if at all."""
        self._slots.load(context)
        assert context.compression is not None
        self.compression = context.compression
        self._pending = [context.compression.candidates is not None] * len(self._pending)

    def reload(self, context: Context, frames: Iterable[int]) -> None:
        """Begin a finished block anew, see `FrameSlots`; it attends the tokens that are chosen now."""
        assert context.compression is not None
        assert context.compression.candidates is None
        self._slots.reload(context, frames)
        self.compression = context.compression

    def prefetch(self, handles: Sequence[Handle]) -> None:
        self._slots.prefetch(handles)

    def held(self) -> Iterator[Handle]:
        return self._slots.held()

    def attended(self, text: TextKV) -> AttendedTokens:
        return AttendedTokens(self, self._slots.attended(text))

    def recached(self, text: TextKV) -> AttendedTokens:
        return AttendedTokens(self, self._slots.recached(text))

    def observe(self, layer: int, query: Tensor) -> None:
        """Take note of a pass's rotated query [1, N, heads, D]: the newest frames' choose."""
        by_frame = query[0].float().unflatten(0, (-1, self._cache.shape.tokens_per_frame)).sum(1)
        self._queries[layer].extend(by_frame)
        if self._pending[layer]:
            self._choose(layer)
            self._pending[layer] = False

    def with_chosen(self, layer: int) -> tuple[Tensor, Tensor]:
        """Rotated keys and values of one layer: chosen tokens, the block, whole frames."""
        chosen = self.chosen[layer]
        tokens = slice(self._room - (0 if chosen is None else len(chosen.uses)), self._slots.end_token)
        return self._slots.keys[layer, tokens], self._slots.values[layer, tokens]

    def candidates(self, layer: int) -> Tokens:
        """Tokens that a layer may choose from now: those chosen before, and those of the oldest frames."""
        span, kept = self.compression.candidates, self.chosen[layer]
        assert span is not None
        whole = [self._whole(layer, frame) for frame in range(span.start, span.stop)]
        return Tokens.joined(whole if kept is None else [kept, *whole])

    def rank(self, layer: int, candidates: Tokens) -> Tensor:
        """Score of each candidate by the queries observed last, float32 [T]."""
        keys = self._rotated(candidates.keys, candidates.frames, candidates.places)
        return scores(torch.stack(list(self._queries[layer])).sum(0), keys)

    def _choose(self, layer: int) -> None:
        candidates = self.candidates(layer)
        limit = self.compression.reuse_limit
        kept = self.chosen[layer]
        fresh = len(candidates.uses) - (0 if kept is None else len(kept.uses))
        indices = best(self.rank(layer, candidates), self._room, candidates.uses, limit, fresh)
        chosen = candidates.at(indices)
        chosen = Tokens(chosen.keys, chosen.values, chosen.frames, chosen.places, chosen.uses + 1)
        times, F = chosen.frames, self._cache.shape.tokens_per_frame
        if self.compression.positions:
            order = torch.arange(len(indices), device=indices.device) // F
            times = on_device(self.compression.positions, indices.device)[order]
        region = slice(self._room - len(indices), self._room)
        self._slots.keys[layer, region] = self._rotated(chosen.keys, times, chosen.places)
        self._slots.values[layer, region] = chosen.values
        self.chosen[layer] = chosen

    def _whole(self, layer: int, frame: int) -> Tokens:
        slab = self._cache.slab(frame)[layer]
        places = torch.arange(slab.shape[1], device=slab.device)
        zeros = torch.zeros_like(places)
        return Tokens(slab[KEY], slab[VALUE], zeros + frame, places, zeros)

    def _rotated(self, keys: Tensor, times: Tensor, places: Tensor) -> Tensor:
        """Keys [T, heads, D], each at its own temporal position and place."""
        pairs = axis_dims(self._cache.shape.head_dim)[0] // 2
        phases: Phases = tuple(
            torch.cat((temporal[times, :pairs], spatial[places, pairs:]), dim=-1)
            for temporal, spatial in zip(self._temporal, self._spatial, strict=True)
        )
        return self._slots.rotation.rotate(keys.unsqueeze(0), phases)[0]


@dataclass(frozen=True)
class AttendedTokens:
    """What one pass attends: frames as ever, and the tokens that each layer has chosen."""

    slots: TokenSlots
    frames: AttendedFrames

    @property
    def text(self) -> TextKV:
        return self.frames.text

    def exchange(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, _, _ = self.frames.exchange(layer, query, key, value)
        self.slots.observe(layer, query)
        return query, *self.slots.with_chosen(layer)
