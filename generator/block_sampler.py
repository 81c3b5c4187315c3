"""Makes one block after the other with one model: attend a context, denoise, write clean keys and values."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from generator.course import Course
from generator.history.history import History
from generator.kv.config import Layout
from generator.kv.context_cache import ContextCache
from generator.kv.host_tier import HostTier
from generator.kv.kv_cache import KVCache
from generator.kv.recreation import Recreation, Surroundings
from generator.kv.slots import FrameSlots
from generator.kv.tiers import KVTiers
from generator.kv.token_slots import TokenSlots
from generator.kv.traffic import Traffic
from generator.kv.window_recache import WindowRecache
from generator.methods.context import Context
from generator.noise import BlockNoise
from generator.sampling import denoise, flow_schedule, pass_timesteps, sigma_at
from generator.story.text import PromptTrack
from generator.wan.attention import TextKV
from generator.wan.causal_wan import CausalWan
from memory_service.types import Handle, Query

TEXTS = 4
"""Most prompts, beside that of now, whose keys and values are kept: 94 MB each with Wan 1.3B."""


class BlockSampler:
    """The model's side of one rollout: its keys and values, its prompts, its noise levels."""

    def __init__(
        self,
        model: CausalWan,
        course: Course,
        track: PromptTrack,
        history: History,
        host: HostTier | None = None,
    ) -> None:
        """host: left out, what the configuration says. Raises ConfigError, KVBudgetError."""
        config, compression = course.config, course.compression
        geometry, window, sampling = config.geometry, config.window, config.sampling
        schedule = flow_schedule(sampling.shift)
        shape = model.kv_shape(geometry)
        self._model, self._geometry, self._window = model, geometry, window
        self._history, self._replay, self._switching = history, course.replay(history), config.switching
        self._clean = torch.tensor(sampling.context_timestep, device=model.device)
        self._host = config.host_tier(shape, len(track.rows)) if host is None else host
        self._tiers = None
        if config.retrieves:
            self._tiers = KVTiers(
                shape,
                self._host,
                device_frames=config.kv.frames_on_device(shape),
                recreation=self.recreation(config.kv.layout),
            )
        cache = KVCache(shape, self._tiers, history.handle)
        self.cache = cache
        self._made = WindowRecache(cache, window.sink_frames)
        self.slots: ContextCache = (
            FrameSlots(cache, geometry, window, model.rotation, in_order=model.in_order)
            if compression is None
            else TokenSlots(cache, geometry, window, model.rotation, compression)
        )
        timesteps = pass_timesteps(sampling, schedule)
        # On the device from the start, so that no pass has to wait for a copy.
        self._timesteps = timesteps.to(model.device)
        self._sigmas = sigma_at(schedule, timesteps).to(model.device)
        self._rows = track.rows
        self._text_kv = lru_cache(TEXTS)(lambda row: model.text_kv(track.embeds[row]))

    def attend(self, index: int, context: Context) -> Context:
        """Begin block `index`: make room for it, load what it attends; that, as far as it is there.

        A block of the past that is not passed again attends nothing. Raises MissingKVError.
        """
        self._passes = not self._replay.skips(context.span)
        if self._passes:
            context = self._replay.remaining(context, self.cache.frames)
            self._text, self._context = self._text_kv(self._rows[index]), context
            self.slots.load(context)
        return context

    def prefetch(self, handles: Sequence[Handle]) -> None:
        """Begin to bring what the next block retrieves, while this one is still made; in any thread."""
        self.slots.prefetch(handles)

    def traffic(self) -> Traffic:
        """What the tiers did since the last call."""
        return Traffic() if self._tiers is None else self._tiers.taken()

    def denoise(self, noise: BlockNoise) -> Tensor:
        """Latents [n, C, H, W] of the block, in the model's dtype."""
        noise = noise.to(self._model.device, self._model.dtype)
        attended = self.slots.attended(self._text)

        def flow_of(latents_FCHW: Tensor, timestep: Tensor) -> Tensor:
            return self._model.flow(latents_FCHW, timestep, attended)

        return denoise(flow_of, noise.initial, noise.renoise, self._timesteps, self._sigmas)

    def again(self, latents_FCHW: Tensor, noise: BlockNoise) -> Tensor:
        """A block of the past on the device, with what it needs of the passes that made it.

        That is its first one where it compresses: there each layer chose the tokens that are attended since.
        """
        compression = self._context.compression if self._passes else None
        if compression is not None and compression.candidates is not None:
            initial = noise.to(self._model.device, self._model.dtype).initial
            self._model.flow(initial, self._timesteps[0], self.slots.attended(self._text))
        return latents_FCHW.to(self._model.device)

    def recache(self, latents_FCHW: Tensor) -> None:
        """The clean pass: its only effect is the block's keys and values in the cache."""
        if self._passes:
            self._model.flow(latents_FCHW, self._clean, self.slots.recached(self._text))
            self._made.note(self._context, latents_FCHW)

    def recache_window(self, index: int) -> None:
        """Clean passes over the window's blocks under the prompt of block `index`, see `WindowRecache`."""
        text = self._text_kv(self._rows[index])
        for made, frames in self._made.blocks(self._switching):
            self.slots.reload(made.context, frames)
            self._model.flow(made.latents, self._clean, self.slots.recached(text))

    def held(self, query: Query | None) -> list[Handle]:
        """Handles that a search may return and whose keys and values are at hand.

        Those at hand are walked, not looked up: to hash a handle takes longer than all else here.
        """
        if query is None:
            return []
        start, stop = query.eligible.start, query.eligible.stop
        own = self._history.handle
        return [h for h in self.slots.held() if start <= h.frame < stop and h == own(h.frame)]

    @property
    def host_bytes(self) -> int:
        """Keys and values in the host tier."""
        return 0 if self._host is None else self._host.bytes

    def recreation(self, layout: Layout) -> Recreation:
        """What makes retrieved frames of this rollout anew."""
        sampler = weakref.proxy(self)  # which has the tiers that have the re-creation
        around = Surroundings(
            handle_of=self._history.handle,
            latents=self._history.latents,
            sink=lambda frame: sampler.cache.slab(frame),
            text=lambda frame: sampler._text_of(frame),
        )
        return Recreation(self._model, self._geometry, self._window, self._clean, layout, around)

    def _text_of(self, frame: int | None) -> TextKV:
        """The prompt of a frame of this video; None: of the block that is made now."""
        return self._text if frame is None else self._text_kv(self._rows[frame // self._window.block_frames])
