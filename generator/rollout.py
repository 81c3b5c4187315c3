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
from generator.context import Context, Policy, assemble, block_spans, query_for
from generator.errors import ConfigError
from generator.history import History
from generator.kv_cache import HostTier
from generator.noise import Noise
from generator.rope import MAX_POSITION
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

    def __post_init__(self) -> None:
        window = self.window
        needed = window.sink_frames + window.top_k + window.block_frames
        if self.policy.retrieves and needed > window.window_frames:
            raise ConfigError(
                f"sink_frames + top_k + block_frames = {needed} exceeds window_frames = "
                f"{window.window_frames}: a block of {self.policy.name} could not attend to itself"
            )

    def check_length(self, blocks: int) -> None:
        """Raises ConfigError where so many blocks need temporal positions that the model does not have."""
        frames = blocks * self.window.block_frames
        needed = frames if self.policy.positions == "absolute" else min(frames, self.window.window_frames)
        if needed > MAX_POSITION:
            raise ConfigError(
                f"{self.policy.name} needs {needed} temporal positions for {frames} frames; the model has "
                f"{MAX_POSITION}"
            )


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
    sampler = BlockSampler(model, config.geometry, window, config.sampling, track, host, history.handle)
    spans = list(block_spans(len(track.rows), window))
    hits: tuple[Hit, ...] = ()
    for index, span in enumerate(spans):
        clock = Stopwatch(model.device)
        with clock("fetch"):
            context = assemble(policy, window, span, [hit.handle for hit in hits])
            sampler.attend(index, context)
        with clock("denoise"):
            latents = sampler.denoise(noise.block(index))
        with clock("encode"):
            embeddings = encoder.encode(latents)
        query = query_for(policy, window, spans[index + 1]) if index + 1 < len(spans) else None
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
            host_bytes_moved=sampler.host_bytes_moved,
        )
        hits = recalled.hits


def held(query: Query | None, history: History, host: HostTier | None) -> list[Handle]:
    """Handles that the next search may return and whose keys and values the host tier holds."""
    if query is None or host is None:
        return []
    frames = range(query.eligible.start, query.eligible.stop)
    return [handle for handle in map(history.handle, frames) if handle in host]
