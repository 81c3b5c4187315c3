"""The rollout: blocks of latent frames, each from noise and [ sink | retrieved | local ].

Block-autoregressive sampling of Self-Forcing with the retrieval of LongLive-RAG; every method is a `Policy`
of the same loop. Shapes: n frames of a block, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from encoder.model import Encoder
from generator.block_sampler import BlockSampler
from generator.course import Course
from generator.history.history import History
from generator.history.recalled import Recalled
from generator.kv.host_tier import HostTier
from generator.kv.traffic import Traffic
from generator.methods.context import Context
from generator.noise import Noise, NoiseAhead
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.timing import Stopwatch, Timings
from generator.wan.causal_wan import CausalWan
from memory_service.types import Hit, Span


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
    course = Course(config, track.scenes, len(track.rows))
    sampler = BlockSampler(model, course, track, history, host)
    recalled, draws = Recalled(), NoiseAhead(noise, course.num_blocks)
    with history.preparing(sampler.prefetch):
        for index, span in enumerate(course.spans):
            clock, made = Stopwatch(model.device), history.made(span)
            with clock("fetch"):
                if course.recaches(index):
                    sampler.recache_window(index)
                context = sampler.attend(index, course.context(index, recalled, history))
            with clock("denoise"):
                drawn = draws.block(index)
                latents = sampler.denoise(drawn) if made is None else sampler.again(made.latents, drawn)
            with clock("encode"):
                embeddings = encoder.encode(latents) if made is None else made.embeddings
            search = course.search(index + 1)
            known = sampler.held(search.query)
            history.remember(span.start, latents, embeddings, search, known=known, attended=recalled)
            with clock("recache"):
                sampler.recache(latents)
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
                host_bytes=sampler.host_bytes,
                traffic=sampler.traffic(),
            )
