"""Makes one block after the other with one model: attend a context, denoise, write clean keys and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache as memoized

import torch
from torch import Tensor

from generator.causal_wan import CausalWan
from generator.configs import Geometry, Sampling, Window
from generator.context import Context
from generator.kv_cache import HostTier, KVCache
from generator.noise import BlockNoise
from generator.sampling import denoise, flow_schedule, pass_timesteps, sigma_at
from generator.slots import Slots
from generator.text import PromptTrack
from memory_service.types import Handle


class BlockSampler:
    """The model's side of one rollout: its keys and values, its prompts, its noise levels."""

    def __init__(
        self,
        model: CausalWan,
        geometry: Geometry,
        window: Window,
        sampling: Sampling,
        track: PromptTrack,
        host: HostTier | None,
        handle_of: Callable[[int], Handle],
    ) -> None:
        shape = model.kv_shape(geometry)
        schedule = flow_schedule(sampling.shift)
        self._model = model
        self._cache = KVCache(shape, window, host, handle_of)
        self._slots = Slots(shape, geometry, window)
        self._timesteps = pass_timesteps(sampling, schedule)
        self._sigmas = sigma_at(schedule, self._timesteps)
        self._clean = torch.tensor(sampling.context_timestep)
        self._rows = track.rows
        self._text_kv = memoized(lambda row: model.text_kv(track.embeds[row]))

    def attend(self, index: int, context: Context) -> None:
        """Begin block `index`: make room for it, load what it attends. Raises MissingKVError."""
        self._cache.begin(context.span)
        self._slots.load(context, self._cache)
        self._attended = self._slots.attended(context, self._text_kv(self._rows[index]))

    def denoise(self, noise: BlockNoise) -> Tensor:
        """Latents [n, C, H, W] of the block, in the model's dtype."""
        noise = noise.to(self._model.device, self._model.dtype)
        return denoise(self._flow, noise.initial, noise.renoise, self._timesteps, self._sigmas)

    def recache(self, latents_FCHW: Tensor) -> None:
        """The clean pass: its only effect is the block's keys and values in the cache."""
        self._model.flow(latents_FCHW, self._clean, replace(self._attended, store=self._cache.write))

    @property
    def host_bytes_moved(self) -> int:
        """Keys and values brought back from the host tier so far."""
        return self._slots.host_bytes_moved

    def _flow(self, latents_FCHW: Tensor, timestep: Tensor) -> Tensor:
        return self._model.flow(latents_FCHW, timestep, self._attended)
