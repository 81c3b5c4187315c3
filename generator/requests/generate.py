"""One prompt, one or several methods: rollouts that stream into video files, and what is known of them.

Pixels are written as they are decoded and not kept: a minute of them at 480p is a gigabyte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from encoder.model import Encoder
from generator.backbones import Backbone
from generator.history.history import DTYPE_NAMES, History
from generator.methods import policy_named
from generator.methods.context import window_of
from generator.noise import JoinedNoise
from generator.processes.progress import Meter
from generator.records.record import SIDE_BY_SIDE, SUFFIXES, RolloutRecord
from generator.records.revisit import score
from generator.records.video import VideoWriter
from generator.report import side_by_side
from generator.report.side_by_side import Comparison
from generator.report.style import method_title
from generator.requests.plan import PLAN, Plan
from generator.requests.recording import block_records, settings_of, versions
from generator.requests.request import Request
from generator.requests.resuming import taken_over
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from memory_service.errors import NotFound
from memory_service.memory import Memory
from memory_service.types import VideoKey, VideoSpec


@dataclass(frozen=True, kw_only=True)
class Output:
    """What one rollout left: its record and its files; the video is the first."""

    record: RolloutRecord
    files: tuple[Path, ...]


def drop(request: Request, memory: Memory) -> None:
    """Make the memory forget what it has under the request's names."""
    for method in request.methods:
        with suppress(NotFound):
            memory.drop_video(VideoKey(request.pool, request.name(method)))


def generate(
    request: Request, backbone: Backbone, encoder: Encoder, memory: Memory, meter: Meter
) -> list[Output]:
    """Roll out every method of the request, one after the other, on the same noise.

    Raises ConfigError before the first where one of them cannot be run.
    """
    # What the machine has free changes from one to the next, and must not tell them apart.
    kv = request.kv.resolved(backbone.model.kv_shape(backbone.geometry))
    request = replace(request, kv=kv)
    for method in request.methods:
        config_of(request, method, backbone)
        meter.plan(request.name(method), request.num_frames)
    request.out.mkdir(parents=True, exist_ok=True)
    return [generate_one(request, method, backbone, encoder, memory, meter) for method in request.methods]


def write_side_by_side(request: Request, outputs: Sequence[Output]) -> Path:
    """Write `<video>.side_by_side.mp4`, which plays all methods in step; its path."""
    path = request.out / f"{request.video}{SIDE_BY_SIDE}"
    first = outputs[0].record
    comparison = Comparison(
        prompt=request.prompt,
        fps=first.fps,
        panels={method_title(output.record.method): output.files[0] for output in outputs},
        cells=first.camera_cells,
        turns={turn.block * request.block_frames / first.latent_fps: turn.prompt for turn in request.turns},
    )
    side_by_side.write(comparison, path)
    return path


def generate_one(
    request: Request, method: str, backbone: Backbone, encoder: Encoder, memory: Memory, meter: Meter
) -> Output:
    """One rollout, its pixels written while it runs. Raises what `rollout` raises."""
    config = config_of(request, method, backbone)
    name = request.name(method)
    key = VideoKey(request.pool, name)
    plan = Plan.of(request, config, backbone, encoder)
    spec = video_spec(request, config, backbone, encoder, plan)
    cells = camera_cells(backbone, request)
    video_file, latents_file, record_file = (request.out / f"{name}{suffix}" for suffix in SUFFIXES)
    blocks, pixels = [], []
    decode = backbone.decoder.stream()
    with history_of(request, key, spec, plan, memory) as history:
        with VideoWriter(video_file, fps=backbone.decoder.fps) as video:
            meter.begin(name)
            for block in roll(request, config, backbone, encoder, history):
                frames = decode(block.latents)
                video.append(frames)
                blocks.append(replace(block, latents=block.latents.cpu()))
                if cells:
                    pixels.append(frames)
                meter.advance(name, len(block.span))
        write_latents(latents_file, blocks, history.spec)
        history.settle()
    record = RolloutRecord(
        pool=request.pool,
        video=name,
        method=method,
        prompt=request.prompt,
        seed=request.seed,
        latent_fps=backbone.decoder.latent_fps,
        fps=backbone.decoder.fps,
        settings=settings_of(request, config, backbone, spec),
        versions=versions(),
        blocks=block_records(blocks, memory, key),
        camera_cells=cells,
        revisit=score(np.concatenate(pixels), cells) if cells and not request.turns else None,
        turns=request.turns,
    )
    record.write(record_file)
    meter.end(name)
    return Output(record=record, files=(video_file, latents_file, record_file))


def config_of(request: Request, method: str, backbone: Backbone) -> RolloutConfig:
    """How one method is run. Raises ConfigError and KVBudgetError where it cannot be."""
    policy = policy_named(method)
    window = window_of(policy, backbone.window, request.window_changes)
    given = {"switching": request.switching, "selection": request.selection}
    config = replace(backbone.config(policy), window=window, **given)
    config.check_length(request.num_blocks)
    shape = backbone.model.kv_shape(config.geometry)
    config = replace(config, kv=request.kv.resolved(shape))
    config.host_tier(shape, request.num_blocks)
    return config


def history_of(request: Request, key: VideoKey, spec: VideoSpec, plan: Plan, memory: Memory) -> History:
    """A new video, or the one that is to be continued. Raises PlanError, HistoryNotEmptyError and more."""
    past = taken_over(memory, key, plan, request.replay) if request.resume else None
    spec = spec if past is None else past.spec
    return History(memory, key, spec, past=past, patience_s=request.patience_s)


def write_latents(path: Path, blocks: Sequence[RolledBlock], spec: VideoSpec) -> None:
    """All latents [F, C, H, W], with the metadata of their video."""
    latents = torch.cat([block.latents for block in blocks]).contiguous()
    # One entry: safetensors writes several in an order that changes from process to process.
    about = {"video": json.dumps(dict(spec.metadata), sort_keys=True)}
    path.write_bytes(save({"latents": latents}, metadata=about))


def video_spec(
    request: Request, config: RolloutConfig, backbone: Backbone, encoder: Encoder, plan: Plan
) -> VideoSpec:
    """What the memory is told about the video; whoever inspects it reads the window from the metadata."""
    window = {name: str(value) for name, value in asdict(config.window).items()}
    return VideoSpec(
        embedding_dim=encoder.embedding_dim,
        latent_dtype=DTYPE_NAMES[backbone.model.dtype],
        latent_shape=config.geometry.latent_shape,
        encoder_id=encoder.encoder_id,
        metadata={
            "prompt": request.prompt,
            "seed": str(request.seed),
            "method": config.policy.name,
            "backbone": backbone.name,
            "latent_fps": f"{backbone.decoder.latent_fps:g}",
            **window,
            **_story(request),
            PLAN: plan.to_json(),
        },
    )


def camera_cells(backbone: Backbone, request: Request) -> tuple[int, ...]:
    """Where the camera of each latent frame stands, in worlds that know; empty elsewhere."""
    if backbone.name != "toy":
        return ()
    from generator.toy import prompts

    words = [
        word
        for prompt, blocks in request.schedule.stretches(request.num_blocks, prompts.follow)
        for word in prompts.parse(prompt).camera_words(blocks)
    ]
    return tuple(prompts.camera_cells(tuple(words)).tolist())


def _story(request: Request) -> dict[str, str]:
    """What a later reader of the memory needs to know beside the prompt."""
    if not request.turns:
        return {}
    parts = {"schedule": request.schedule.to_json(), "switching": asdict(request.switching)}
    return {name: json.dumps(value) for name, value in parts.items()}


def roll(
    request: Request, config: RolloutConfig, backbone: Backbone, encoder: Encoder, history: History
) -> Iterator[RolledBlock]:
    """The blocks of a request by one method, as they are made. Raises what `rollout` raises."""
    track = PromptTrack.of(request.schedule, backbone.text, request.num_blocks)
    noise = JoinedNoise(
        request.noise,
        block_frames=request.block_frames,
        passes=len(config.sampling.steps),
        latent_shape=config.geometry.latent_shape,
    )
    return rollout(backbone.model, config, track, noise, encoder, history)
