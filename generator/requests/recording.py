"""What is written down of a rollout: its settings, the versions of what made it, and its blocks."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import diffusers
import torch

import memory_service
from generator.backbones import Backbone
from generator.records.record import BlockRecord, RetrievedFrame
from generator.requests.request import Request
from generator.rollout import RolledBlock
from generator.rollout_config import RolloutConfig
from memory_service.memory import Memory
from memory_service.types import VideoKey, VideoSpec


def versions() -> dict[str, str]:
    """Whatever the numbers of a rollout may depend on."""
    return {
        "reverie": memory_service.__version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def block_records(blocks: Sequence[RolledBlock], memory: Memory, key: VideoKey) -> tuple[BlockRecord, ...]:
    """Blocks as they ran, with the time that the service itself took for each search."""
    searched_ms: dict[int, float] = defaultdict(float)
    for logged in memory.retrievals(key):
        searched_ms[logged.length] += logged.search_us / 1000
    return tuple(
        BlockRecord(
            start=block.span.start,
            stop=block.span.stop,
            parts_ms={**asdict(block.timings), **_measured(block, searched_ms)},
            retrieved=tuple(
                RetrievedFrame(
                    **asdict(hit.handle.key), epoch=hit.handle.epoch, frame=hit.handle.frame, score=hit.score
                )
                for hit in block.hits
            ),
            kv=block.traffic,
            degraded=block.degraded,
            replayed=block.replayed,
        )
        for block in blocks
    )


def _measured(block: RolledBlock, searched_ms: Mapping[int, float]) -> dict[str, float]:
    """Parts of a block that the loop does not measure."""
    return {"service_search": searched_ms[block.span.stop], "recreate": block.traffic.recreation_ms}


def settings_of(
    request: Request, config: RolloutConfig, backbone: Backbone, spec: VideoSpec
) -> dict[str, object]:
    return {
        "backbone": backbone.name,
        "numerics": backbone.model.numerics,
        "num_frames": request.num_frames,
        "window": asdict(config.window),
        "selection": {**asdict(config.selection), "pinned_frames": list(config.selection.pinned_frames)},
        "switching": {**asdict(config.switching), "at_switch": config.switching.of(config.policy)},
        "kv": asdict(config.kv),
        "sampling": {**asdict(config.sampling), "steps": list(config.sampling.steps)},
        "latent_shape": list(spec.latent_shape),
        "latent_dtype": spec.latent_dtype,
        "embedding_dim": spec.embedding_dim,
        "encoder_id": spec.encoder_id,
        "device": str(backbone.model.device),
        "threads": torch.get_num_threads(),
    }
