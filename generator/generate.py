"""One prompt, one or several methods: rollouts that stream into video files, and what is known of them.

Pixels are written as they are decoded and not kept: a minute of them at 480p is a gigabyte.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import diffusers
import numpy as np
import torch
from safetensors.torch import save

import memory_service
from encoder.model import Encoder
from generator.backbones import Backbone
from generator.configs import Window
from generator.context import Policy
from generator.history import DTYPE_NAMES, History
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.progress import Meter
from generator.record import SIDE_BY_SIDE, SUFFIXES, BlockRecord, RetrievedFrame, RolloutRecord, rollout_name
from generator.report import side_by_side
from generator.report.revisit import score
from generator.report.side_by_side import Comparison
from generator.report.style import method_title
from generator.rollout import RolledBlock, RolloutConfig, rollout
from generator.video import VideoWriter
from memory_service.errors import NotFound
from memory_service.memory import Memory
from memory_service.types import VideoKey, VideoSpec


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate: one rollout per method, all of the same prompt, seed and length."""

    prompt: str
    seed: int
    methods: tuple[str, ...]
    num_frames: int
    """Latent frames; a multiple of the backbone's block."""

    pool: str
    video: str
    out: Path
    block_frames: int
    """Of the backbone."""

    window_changes: Mapping[str, int] = field(default_factory=dict)
    """Fields of `Window` -> values in place of those that backbone and method bring."""

    def name(self, method: str) -> str:
        """Name of a rollout: the only one bears the video's own, whatever its method."""
        return rollout_name(self.video, method) if len(self.methods) > 1 else self.video

    @property
    def num_blocks(self) -> int:
        return self.num_frames // self.block_frames

    def __post_init__(self) -> None:
        block = self.block_frames
        if self.num_frames < block or self.num_frames % block:
            raise ValueError(f"frames must be a positive multiple of {block}, got {self.num_frames}")


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
    """Roll out every method of the request, one after the other, on the same noise."""
    for method in request.methods:
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
    )
    side_by_side.write(comparison, path)
    return path


def generate_one(
    request: Request, method: str, backbone: Backbone, encoder: Encoder, memory: Memory, meter: Meter
) -> Output:
    """One rollout, its pixels written while it runs. Raises what `rollout` raises."""
    policy = policy_named(method)
    config = replace(backbone.config(policy), window=window_of(policy, backbone, request))
    config.check_length(request.num_blocks)
    name = request.name(method)
    key = VideoKey(request.pool, name)
    spec = video_spec(request, config, backbone, encoder)
    cells = camera_cells(backbone, request)
    video_file, latents_file, record_file = (request.out / f"{name}{suffix}" for suffix in SUFFIXES)
    blocks, pixels = [], []
    decode = backbone.decoder.stream()
    with History(memory, key, spec) as history, VideoWriter(video_file, fps=backbone.decoder.fps) as video:
        meter.begin(name)
        for block in _roll(request, config, backbone, encoder, history):
            frames = decode(block.latents)
            video.append(frames)
            blocks.append(replace(block, latents=block.latents.cpu()))
            if cells:
                pixels.append(frames)
            meter.advance(name, len(block.span))
    latents = torch.cat([block.latents for block in blocks]).contiguous()
    # One entry: safetensors writes several in an order that changes from process to process.
    about = {"video": json.dumps(spec.metadata, sort_keys=True)}
    latents_file.write_bytes(save({"latents": latents}, metadata=about))
    record = RolloutRecord(
        pool=request.pool,
        video=name,
        method=method,
        prompt=request.prompt,
        seed=request.seed,
        latent_fps=backbone.decoder.latent_fps,
        fps=backbone.decoder.fps,
        settings=_settings(request, config, backbone, spec),
        versions=versions(),
        blocks=_block_records(blocks, memory, key),
        camera_cells=cells,
        revisit=score(np.concatenate(pixels), cells) if cells else None,
    )
    record.write(record_file)
    meter.end(name)
    return Output(record=record, files=(video_file, latents_file, record_file))


def video_spec(request: Request, config: RolloutConfig, backbone: Backbone, encoder: Encoder) -> VideoSpec:
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
        },
    )


def window_of(policy: Policy, backbone: Backbone, request: Request) -> Window:
    """The backbone's window, as the method has it, with what the request changes; K only where it is used."""
    own = policy.window(backbone.window)
    unused = set() if own.top_k else {"top_k"}
    return replace(own, **{name: v for name, v in request.window_changes.items() if name not in unused})


def camera_cells(backbone: Backbone, request: Request) -> tuple[int, ...]:
    """Where the camera of each latent frame stands, in worlds that know; empty elsewhere."""
    if backbone.name != "toy":
        return ()
    from generator.toy import prompts

    return tuple(prompts.parse(request.prompt).camera_cells(request.num_blocks).tolist())


def versions() -> dict[str, str]:
    """Whatever the numbers of a rollout may depend on."""
    return {
        "reverie": memory_service.__version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _roll(
    request: Request, config: RolloutConfig, backbone: Backbone, encoder: Encoder, history: History
) -> Iterator[RolledBlock]:
    track = backbone.text.track(request.prompt, request.num_blocks)
    noise = SeededNoise(
        request.prompt,
        request.seed,
        blocks=request.num_blocks,
        block_frames=request.block_frames,
        passes=len(config.sampling.steps),
        latent_shape=config.geometry.latent_shape,
    )
    return rollout(backbone.model, config, track, noise, encoder, history)


def _block_records(blocks: Sequence[RolledBlock], memory: Memory, key: VideoKey) -> tuple[BlockRecord, ...]:
    """Blocks as they ran, with the time that the service itself took for each search."""
    searched_ms = {logged.length: logged.search_us / 1000 for logged in memory.retrievals(key)}
    return tuple(
        BlockRecord(
            start=block.span.start,
            stop=block.span.stop,
            parts_ms={**asdict(block.timings), "service_search": searched_ms.get(block.span.stop, 0.0)},
            retrieved=tuple(
                RetrievedFrame(
                    **asdict(hit.handle.key), epoch=hit.handle.epoch, frame=hit.handle.frame, score=hit.score
                )
                for hit in block.hits
            ),
        )
        for block in blocks
    )


def _settings(
    request: Request, config: RolloutConfig, backbone: Backbone, spec: VideoSpec
) -> dict[str, object]:
    return {
        "backbone": backbone.name,
        "num_frames": request.num_frames,
        "window": asdict(config.window),
        "sampling": {**asdict(config.sampling), "steps": list(config.sampling.steps)},
        "latent_shape": list(spec.latent_shape),
        "latent_dtype": spec.latent_dtype,
        "embedding_dim": spec.embedding_dim,
        "encoder_id": spec.encoder_id,
        "device": str(backbone.model.device),
        "threads": torch.get_num_threads(),
    }
