"""The reference's native model with one cache, called pass by pass."""

from __future__ import annotations

import functools
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import pad

from generator.configs import Geometry, Window
from generator.kv.kv_cache import KVCache
from generator.kv.slots import AttendedFrames, FrameSlots
from generator.methods import POLICIES
from generator.wan.causal_wan import CausalWan
from memory_service.types import Handle, Span, VideoKey

NATIVE = POLICIES["native"]


class NativeRunner:
    """The model with one cache, called pass by pass."""

    def __init__(self, case, wan: CausalWan, block_frames: int) -> None:
        model, geometry = case.config.model, case.config.geometry
        self.window = Window(
            window_frames=model["local_attn_size"],
            sink_frames=model["sink_size"],
            top_k=0,
            guard_frames=0,
            block_frames=block_frames,
        )
        self.geometry = Geometry(
            channels=geometry["latent_channels"],
            height=geometry["latent_h"],
            width=geometry["latent_w"],
            patch=tuple(model["patch_size"]),
        )
        assert self.geometry.tokens_per_frame == geometry["tokens_per_frame"]
        shape = wan.kv_shape(self.geometry)
        self.wan = wan
        handle_of = functools.partial(Handle, VideoKey("p", "v"), 1)
        self.cache = KVCache(shape, None, handle_of)
        self.slots = FrameSlots(self.cache, self.geometry, self.window, wan.rotation)

    def begin(self, start: int, embeds: Tensor) -> None:
        context = NATIVE.context(self.window, Span(start, start + self.window.block_frames))
        self.slots.load(context)
        attended = self.slots.recached(self.wan.text_kv(embeds))
        self.attended = with_empty_sink(attended, self.window, context.span, self.geometry.tokens_per_frame)

    def flow(self, x: Tensor, timestep_F: Tensor) -> Tensor:
        """x [1, F, C, h, w] -> flow of the same shape."""
        timestep = timestep_F[0]
        if (timestep_F != timestep).any():
            timestep = timestep_F.repeat_interleave(self.geometry.tokens_per_frame)
        return self.wan.flow(x[0], timestep, self.attended).unsqueeze(0)


def with_empty_sink(
    attended: AttendedFrames, window: Window, span: Span, tokens_per_frame: int
) -> AttendedFrames:
    """Zero keys and values for the frames of the sink that do not exist yet.

    The reference reads its whole sink out of an all-zero cache ("sink_size > block size: native block 0
    attends to an all-zero cached frame"); here a frame that does not exist is not attended.
    """
    rows = max(0, window.sink_frames - span.stop) * tokens_per_frame
    keys, values = (pad(kept, (0, 0, 0, 0, 0, rows)) for kept in (attended.keys, attended.values))
    return replace(attended, keys=keys, values=values)
