"""The rollout: blocks of latent frames, each from noise and [ sink | retrieved | local ].

Block-autoregressive sampling of Self-Forcing with the retrieval of LongLive-RAG; every method is a `Policy`
of the same loop. Shapes: n frames of a block, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache as memoized

import torch
from torch import Tensor

from encoder.model import Encoder
from generator.causal_wan import CausalWan
from generator.configs import Geometry, Sampling, Window
from generator.context import Context, Policy, assemble, block_spans, query_for
from generator.history import History
from generator.kv_cache import HostTier, KVCache
from generator.noise import Noise
from generator.sampling import denoise, flow_schedule, pass_timesteps, sigma_at
from generator.slots import Slots
from generator.text import PromptTrack
from generator.timing import Stopwatch, Timings
from memory_service.types import Handle, Hit, Query, Span


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """A method and its numbers; a variant changes one field."""

    policy: Policy
    geometry: Geometry
    window: Window = field(default_factory=Window)
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class RolledBlock:
    """One finished block: the memory has it, and its keys and values are clean."""

    index: int
    span: Span
    latents: Tensor
    """[n, C, H, W] in the model's dtype, on its device."""
    embeddings: Tensor
    """float32 [n, D], unit norm."""
    context: Context
    """What it attended beside itself."""
    hits: tuple[Hit, ...]
    """What was retrieved for it, best first."""
    timings: Timings
    host_bytes: int
    """Keys and values in the host tier."""
    host_bytes_moved: int
    """Keys and values brought back from the host tier since the rollout began."""


@torch.inference_mode()
def rollout(
    model: CausalWan,
    config: RolloutConfig,
    track: PromptTrack,
    noise: Noise,
    encoder: Encoder,
    history: History,
    host: HostTier | None = None,
) -> Iterator[RolledBlock]:
    """Generate len(track.rows) blocks. `host` may be shared with other rollouts of this process.

    Raises the errors of the memory, and MissingKVError for a retrieved frame that no tier holds.
    """
    policy, window = config.policy, config.window
    shape = model.kv_shape(config.geometry)
    host = HostTier() if host is None else host
    cache = KVCache(shape, window, host, history.handle)
    slots = Slots(shape, config.geometry, window)
    schedule = flow_schedule(config.sampling.shift)
    timesteps = pass_timesteps(config.sampling, schedule)
    sigmas = sigma_at(schedule, timesteps)
    clean = torch.tensor(config.sampling.context_timestep)
    text_kv = memoized(lambda row: model.text_kv(track.embeds[row]))

    spans = list(block_spans(len(track.rows), window))
    hits: tuple[Hit, ...] = ()
    for index, span in enumerate(spans):
        clock = Stopwatch(model.device)
        with clock("fetch"):
            context = assemble(policy, window, span, [hit.handle for hit in hits])
            cache.begin(span)
            slots.load(context, cache)
        attended = slots.attended(context, text_kv(track.rows[index]))
        with clock("denoise"):
            draws = noise.block(index).to(model.device, model.dtype)
            latents = denoise(
                lambda x, t, a=attended: model.flow(x, t, a), draws.initial, draws.renoise, timesteps, sigmas
            )
        with clock("encode"):
            embeddings = encoder.encode(latents)
        query = query_for(policy, window, spans[index + 1]) if index + 1 < len(spans) else None
        history.remember(span.start, latents, embeddings, query, known=known(query, history, host))
        with clock("recache"):
            model.flow(latents, clean, replace(attended, store=cache.write))
        with clock("wait"):
            recalled = history.recall()
        timings = clock.stop(recalled.seconds)
        yield RolledBlock(
            index, span, latents, embeddings, context, hits, timings, host.bytes, slots.host_bytes_moved
        )
        hits = recalled.hits


def known(query: Query | None, history: History, host: HostTier) -> list[Handle]:
    """Handles that the next search may return and whose keys and values the host tier holds."""
    frames = range(query.eligible.start, query.eligible.stop) if query else ()
    return [handle for handle in map(history.handle, frames) if handle in host]
