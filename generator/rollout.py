"""The rollout: blocks of latent frames, each from noise and [ sink | retrieved | local ].

Block-autoregressive sampling of Self-Forcing with the retrieval of LongLive-RAG; every method is a `Policy`
of the same loop. Shapes: n frames of a block, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from encoder.model import Encoder
from generator.block_sampler import BlockSampler
from generator.causal_wan import CausalWan
from generator.configs import Geometry, Sampling, Window
from generator.context import Context, Policy, block_spans
from generator.history import History
from generator.kv_cache import HostTier
from generator.noise import Noise
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

    def check_length(self, blocks: int) -> None:
        """Raises ConfigError where the method cannot be run with this window, or not for so many blocks."""
        self.policy.check(self.window, blocks * self.window.block_frames)


@dataclass(frozen=True, kw_only=True)
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
    """Generate len(track.rows) blocks.

    host: where evicted keys and values go; may be shared with other rollouts of this process. Left out, a
    rollout that retrieves has one of its own and others none.
    Raises ConfigError before the first block, the errors of the memory, and MissingKVError for a retrieved
    frame that no tier holds.
    """
    config.check_length(len(track.rows))
    policy, window = config.policy, config.window
    if host is None and policy.retrieves:
        host = HostTier()
    spans = list(block_spans(len(track.rows), window))
    compression = policy.context(window, spans[0]).compression
    sampler = BlockSampler(
        model, config.geometry, window, config.sampling, track, host, history.handle, compression
    )
    hits: tuple[Hit, ...] = ()
    for index, span in enumerate(spans):
        clock = Stopwatch(model.device)
        with clock("fetch"):
            retrieved = [hit.handle for hit in hits] or [*map(history.handle, policy.chosen(window, span))]
            context = policy.context(window, span, track.scenes, retrieved)
            sampler.attend(index, context)
        with clock("denoise"):
            latents = sampler.denoise(noise.block(index))
        with clock("encode"):
            embeddings = encoder.encode(latents)
        query = policy.query(window, spans[index + 1]) if index + 1 < len(spans) else None
        history.remember(span.start, latents, embeddings, query, known=held(query, history, host))
        with clock("recache"):
            sampler.recache(latents)
        with clock("wait"):
            recalled = history.recall()
        yield RolledBlock(
            index=index,
            span=span,
            latents=latents,
            embeddings=embeddings,
            context=context,
            hits=hits,
            timings=clock.stop(recalled.seconds),
            host_bytes=0 if host is None else host.bytes,
            host_bytes_moved=sampler.slots.host_bytes_moved,
        )
        hits = recalled.hits


def held(query: Query | None, history: History, host: HostTier | None) -> list[Handle]:
    """Handles that the next search may return and whose keys and values the host tier holds."""
    if query is None or host is None:
        return []
    frames = range(query.eligible.start, query.eligible.stop)
    return [handle for handle in map(history.handle, frames) if handle in host]
