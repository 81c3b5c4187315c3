"""The rollout: blocks of latent frames, each from noise and [ sink | retrieved | local ].

Block-autoregressive sampling of Self-Forcing with the retrieval of LongLive-RAG; every method is a `Policy`
of the same loop. Shapes: n frames of a block, D embedding dimension.
"""

from __future__ import annotations

import logging
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
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.kv.shape import KVShape
from generator.kv.traffic import Traffic
from generator.methods.sliding import Sliding
from generator.noise import Noise, NoiseAhead
from generator.recalled import Recalled
from generator.replay import Replay
from generator.searching import NO_SEARCH, Search
from generator.switching import Switching
from generator.text import PromptTrack
from generator.timing import Stopwatch, Timings
from memory_service.types import Handle, Hit, Query, Span

_log = logging.getLogger(__name__)

WITHOUT_MEMORY = Sliding("relative", positions="slot")
"""What a block attends when the memory could not be asked: the whole window, at retrieval's positions."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """A method and its numbers; a variant changes one field."""

    policy: Policy
    geometry: Geometry
    window: Window = field(default_factory=Window)
    sampling: Sampling = field(default_factory=Sampling)
    switching: Switching = field(default_factory=Switching)
    kv: KVConfig = field(default_factory=KVConfig)

    def host_tier(self, shape: KVShape, blocks: int) -> HostTier | None:
        """Where evicted keys and values of so many blocks go. Raises KVBudgetError where they cannot."""
        evicted = max(0, blocks * self.window.block_frames - self.window.window_frames)
        return self.kv.host_tier(shape, evicted) if self.policy.retrieves else None

    def check_length(self, blocks: int) -> None:
        """Raises ConfigError where the method cannot be run with this window, or not for so many blocks."""
        self.policy.check(self.window, blocks * self.window.block_frames)
        self.switching.check(self.policy)


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
    degraded: str
    """Why the memory could not be asked for it; empty where it was, or did not have to be."""
    replayed: bool
    """Whether it was in the memory already, and only its keys and values were made again."""
    timings: Timings
    host_bytes: int
    """Keys and values in the host tier."""
    traffic: Traffic
    """Where retrieved keys and values were found, and what was moved."""


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
    """Generate len(track.rows) blocks; those of the history's past are replayed by their clean pass alone.

    host: where evicted keys and values go; may be shared with other rollouts of this process. Left out, a
    rollout that retrieves has what its configuration says and others none.
    Raises ConfigError and KVBudgetError before the first block, the errors of the memory, and MissingKVError
    for a retrieved frame that no tier holds and whose latent the memory does not have.
    """
    config.check_length(len(track.rows))
    policy, window = config.policy, config.window
    if host is None:
        host = config.host_tier(model.kv_shape(config.geometry), len(track.rows))
    spans = list(block_spans(len(track.rows), window))
    compression = policy.context(window, spans[0]).compression
    kv = config.kv if policy.retrieves else None
    sampler = BlockSampler(
        model, config.geometry, window, config.sampling, track, history, kv, host, compression
    )
    history.prepare = lambda answer: sampler.prefetch([hit.handle for hit in answer.hits])
    replay = replay_of(config, track, history)
    recalled, draws = Recalled(), NoiseAhead(noise)
    for index, span in enumerate(spans):
        clock = Stopwatch(model.device)
        with clock("fetch"):
            if config.switching.recaches(policy, track.scenes, index):
                sampler.recache_window(index, config.switching)
            context = context_of(config, span, track, recalled, history)
            made, is_passed = history.made(span), not replay.skips(span)
            if is_passed:
                context = replay.remaining(context, sampler.cache.frames)
                sampler.attend(index, context)
        with clock("denoise"):
            if made is None:
                latents = sampler.denoise(draws.block(index))
            else:
                latents = made.latents.to(model.device)
                if is_passed:
                    sampler.choose_again(draws.block(index))
        with clock("encode"):
            embeddings = encoder.encode(latents) if made is None else made.embeddings
        search = search_for(config, spans[index + 1], track) if index + 1 < len(spans) else NO_SEARCH
        known = held(search.query, history, sampler)
        history.remember(span.start, latents, embeddings, search, known=known, attended=recalled)
        with clock("recache"):
            if is_passed:
                sampler.recache(latents)
        if index + 1 < len(spans) and spans[index + 1].start >= history.past.length:
            draws.draw(index + 1)  # on the host, while a GPU is busy with the clean pass
        with clock("wait"):
            attended, recalled = recalled, history.recall()
        yield RolledBlock(
            index=index,
            span=span,
            latents=latents,
            embeddings=embeddings,
            context=context,
            hits=attended.hits,
            degraded=attended.degraded,
            replayed=made is not None,
            timings=clock.stop(recalled.seconds),
            host_bytes=0 if host is None else host.bytes,
            traffic=sampler.traffic(),
        )


def replay_of(config: RolloutConfig, track: PromptTrack, history: History) -> Replay:
    """What is passed again of the history's past. Raises ConfigError."""
    window, length = config.window, history.past.length
    scenes = config.switching.scenes(config.policy, track.scenes)
    following = Span(length, length + window.block_frames)
    is_whole = length == len(track.rows) * window.block_frames
    context = None if is_whole else config.policy.context(window, following, scenes)
    return Replay.of(history.past.replay, length, context)


def context_of(
    config: RolloutConfig, span: Span, track: PromptTrack, recalled: Recalled, history: History
) -> Context:
    """What the block `span` attends, given what the memory answered."""
    policy, window, switching = config.policy, config.window, config.switching
    scenes = switching.scenes(policy, track.scenes)
    if recalled.degraded:
        _log.warning(
            "degraded video=%s frames=[%d, %d) reason=%s",
            history.key,
            span.start,
            span.stop,
            recalled.degraded,
        )
        return WITHOUT_MEMORY.context(window, span, scenes)
    chosen = policy.chosen(window, span, switching.since(window, span, track.scenes))
    retrieved = [hit.handle for hit in recalled.hits] or [*map(history.handle, chosen)]
    return policy.context(window, span, scenes, retrieved)


def search_for(config: RolloutConfig, span: Span, track: PromptTrack) -> Search:
    """What is searched for the block `span`, before it is made."""
    return config.switching.search(config.policy, config.window, span, track.scenes)


def held(query: Query | None, history: History, sampler: BlockSampler) -> list[Handle]:
    """Handles that the next search may return and whose keys and values are at hand.

    Those at hand are walked, not looked up: to hash a handle takes longer than all else here.
    """
    if query is None:
        return []
    start, stop = query.eligible.start, query.eligible.stop
    return [
        handle
        for handle in sampler.slots.held()
        if start <= handle.frame < stop and handle == history.handle(handle.frame)
    ]
