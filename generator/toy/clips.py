"""Training clips: a camera path over a random world, as latents, captions and contexts.

M blocks a clip; B blocks of all clips of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generator.toy.codec import ToyCodec
from generator.toy.config import TrainConfig
from generator.toy.context import CONTEXT_FRAMES, MAX_NATIVE_GAP, choose_retrieved, layout
from generator.toy.prompts import BLOCK_FRAMES, CAMERA, Scene, camera_cells, caption_embeds
from generator.toy.world import VIEW_CELLS, paint, view_variants

START_BLOCKS = 2


@dataclass(frozen=True)
class Batch:
    """One training batch; context frames index the 3 * B clean frames, -1 is absent."""

    latents: Tensor
    """[B, 16, 3, 8, 8], one clean block each."""
    captions: Tensor
    """[3 * clips, 16, 64], the three camera words of each clip's scene."""
    caption_rows: Tensor
    """[B]"""
    frames: Tensor
    """[B, 9]"""
    positions: Tensor
    """[B, 9]"""
    block_positions: Tensor
    """[B, 3]"""


class WorldBank:
    """Latents of many painted worlds, ready to be cut into clips."""

    def __init__(self, codec: ToyCodec, worlds: int, cells: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.scenes = [Scene.sample(rng) for _ in range(worlds)]
        self.latents = torch.empty(worlds, 7, 16, VIEW_CELLS, cells, dtype=torch.float16)
        self.cells = cells
        for world, scene in enumerate(self.scenes):
            self.latents[world] = codec.encode(paint(scene, cells, rng).variants).half()

    def view_latents(self, world: int, cells: np.ndarray) -> Tensor:
        """Latents [F, 16, 8, 8] float32 of the views at camera `cells` [F]."""
        columns = torch.from_numpy(cells[:, None] + np.arange(VIEW_CELLS))
        phases = np.arange(len(cells)) % 2
        variants = torch.from_numpy(np.stack([view_variants(phase) for phase in phases]))
        picked = self.latents[world].permute(0, 3, 1, 2)[variants, columns]
        return picked.permute(0, 2, 3, 1).float()


@dataclass(frozen=True)
class Clip:
    """Blocks of one world; context frames count within the clip."""

    latents: Tensor
    """[3 * M, 16, 8, 8]"""
    captions: Tensor
    """[3, 16, 64]"""
    caption_rows: Tensor
    """[M]"""
    tables: tuple[np.ndarray, ...]
    """Context frames [M, 9], their positions [M, 9], positions of the blocks [M, 3]."""


def sample_batch(bank: WorldBank, config: TrainConfig, rng: np.random.Generator) -> Batch:
    """Long clips, and many short ones, since the start of a video is the hardest to generate."""
    lengths = [config.clip_blocks] * config.clips + [START_BLOCKS] * config.starts
    clips = [_sample_clip(bank, config, blocks, rng) for blocks in lengths]
    parts: list[list[Tensor]] = []
    num_frames = 0
    for index, clip in enumerate(clips):
        frames, positions, block_positions = (torch.from_numpy(table) for table in clip.tables)
        frames = torch.where(frames >= 0, frames + num_frames, -1)
        num_frames += len(clip.latents)
        blocks = clip.latents.unflatten(0, (-1, BLOCK_FRAMES)).transpose(1, 2)
        rows = clip.caption_rows + len(CAMERA) * index
        parts.append([blocks, clip.captions, rows, frames, positions, block_positions])
    return Batch(*(torch.cat(part) for part in zip(*parts, strict=True)))


def sample_camera(num_blocks: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Camera words per block: moves of 1 to 9 blocks, mostly turning back, some holds."""
    words: list[str] = []
    direction = str(rng.choice(("left", "right")))
    while len(words) < num_blocks:
        if rng.random() < 0.12:
            words += ["hold"] * int(rng.integers(1, 4))
        else:
            words += [direction] * int(rng.integers(1, 10))
            direction = "left" if direction == "right" else "right"
    return tuple(words[:num_blocks])


def _sample_clip(bank: WorldBank, config: TrainConfig, blocks: int, rng: np.random.Generator) -> Clip:
    world = int(rng.integers(len(bank.scenes)))
    words = sample_camera(blocks, rng)
    path = camera_cells(words)
    path = path - path.min()
    path = path + int(rng.integers(0, bank.cells - VIEW_CELLS - path.max() + 1))
    names, shares = zip(*config.method_shares, strict=True)
    method = str(rng.choice(names, p=shares))
    return Clip(
        latents=bank.view_latents(world, path),
        captions=torch.stack([caption_embeds(bank.scenes[world], word) for word in CAMERA]),
        caption_rows=torch.tensor([list(CAMERA).index(word) for word in words]),
        tables=_context_tables(method, path, rng),
    )


def _context_tables(method: str, path: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    blocks = len(path) // BLOCK_FRAMES
    frames = np.full((blocks, CONTEXT_FRAMES), -1)
    positions = np.zeros((blocks, CONTEXT_FRAMES), int)
    block_positions = np.zeros((blocks, BLOCK_FRAMES), int)
    gap = int(rng.integers(0, MAX_NATIVE_GAP))
    for block in range(blocks):
        start = block * BLOCK_FRAMES
        uses_memory = method == "longlive_rag" and start > 0
        retrieved = choose_retrieved(path, start, rng) if uses_memory else np.zeros(0, int)
        plan = layout(method, start, retrieved, gap if start > 9 else 0)
        frames[block, : len(plan.frames)] = plan.frames
        positions[block, : len(plan.positions)] = plan.positions
        block_positions[block] = plan.block_positions
    return frames, positions, block_positions
