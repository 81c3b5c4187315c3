"""Training clips: a camera path over a random world, as latents, captions and contexts.

M blocks a clip; B blocks of all clips of a batch. In a rollout the newest frames may have gone astray: what
the model imagined where nothing told it better. Some blocks of a clip are therefore attended in a version
that shows another place, while the older frames in the same context show the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from generator.toy.codec import ToyCodec
from generator.toy.config import TrainConfig
from generator.toy.context import CONTEXT_FRAMES, MAX_NATIVE_GAP, choose_retrieved, layout
from generator.toy.prompts import BLOCK_FRAMES, CAMERA, Scene, camera_cells, caption_embeds
from generator.toy.world import VIEW_CELLS, paint, view_variants

START_BLOCKS = 2
MAX_ASTRAY_CELLS = 7
"""Of the 8 columns of a view: the rest tells where the camera is."""


@dataclass(frozen=True)
class Batch:
    """One training batch: B blocks to predict, and A blocks that went astray, which are only attended.

    Context frames index the 3 * (B + A) clean frames; -1 is absent.
    """

    targets: Tensor
    """[B, 16, 3, 8, 8]"""
    contexts: Tensor
    """[B + A, 16, 3, 8, 8], the clean blocks: the targets, then those astray."""
    captions: Tensor
    """[3 * clips, 16, 64], the three camera words of each clip's scene."""
    caption_rows: Tensor
    """[B + A]"""
    frames: Tensor
    """[B + A, 9]"""
    positions: Tensor
    """[B + A, 9]"""
    block_positions: Tensor
    """[B + A, 3]"""


class WorldBank:
    """Latents of many painted worlds, ready to be cut into clips."""

    def __init__(self, codec: ToyCodec, worlds: int, cells: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.scenes = [Scene.sample(rng) for _ in range(worlds)]
        self.latents = torch.empty(worlds, 7, 16, VIEW_CELLS, cells, dtype=torch.float16)
        self.cells = cells
        for world, scene in enumerate(self.scenes):
            self.latents[world] = codec.encode(paint(scene, cells, rng).variants).half()

    def view_latents(self, world: int, cells: np.ndarray, phases: np.ndarray) -> Tensor:
        """Latents [F, 16, 8, 8] float32 of views made of world `cells` [F, 8] at companion `phases` [F]."""
        variants = torch.from_numpy(np.stack([view_variants(phase) for phase in phases]))
        picked = self.latents[world].permute(0, 3, 1, 2)[variants, torch.from_numpy(cells)]
        return picked.permute(0, 2, 3, 1).float()


@dataclass(frozen=True)
class Clip:
    """M blocks of one world and `len(astray)` versions of some; context frames count within the clip."""

    latents: Tensor
    """[3 * (M + astray), 16, 8, 8]"""
    captions: Tensor
    """[3, 16, 64]"""
    caption_rows: Tensor
    """[M]"""
    tables: tuple[np.ndarray, ...]
    """Context frames [M, 9], their positions [M, 9], positions of the blocks [M, 3]."""
    astray: np.ndarray
    """Block of which each further block is a version."""


def sample_batch(bank: WorldBank, config: TrainConfig, rng: np.random.Generator) -> Batch:
    """Long clips, and many short ones, since the start of a video is the hardest to generate."""
    lengths = [(config.clip_blocks, config.astray_blocks)] * config.clips
    lengths += [(START_BLOCKS, 0)] * config.starts
    clips = [_sample_clip(bank, config, blocks, astray, rng) for blocks, astray in lengths]
    blocks: list[tuple[Tensor, ...]] = []
    versions: list[tuple[Tensor, ...]] = []
    before, astray_before = 0, BLOCK_FRAMES * sum(blocks for blocks, _ in lengths)
    for index, clip in enumerate(clips):
        frames, positions, block_positions = (torch.from_numpy(table) for table in clip.tables)
        own = BLOCK_FRAMES * len(frames)
        frames = torch.where(frames >= own, frames - own + astray_before, frames + before * (frames >= 0))
        views = clip.latents.unflatten(0, (-1, BLOCK_FRAMES)).transpose(1, 2)
        rows = clip.caption_rows + len(CAMERA) * index
        blocks.append((views[: len(frames)], rows, frames, positions, block_positions))
        told = [part[clip.astray] for part in (rows, frames, positions, block_positions)]
        versions.append((views[len(frames) :], *told))
        before, astray_before = before + own, astray_before + BLOCK_FRAMES * len(clip.astray)
    contexts, *tables = (torch.cat(part) for part in zip(*blocks, *versions, strict=True))
    captions = torch.cat([clip.captions for clip in clips])
    return Batch(contexts[: before // BLOCK_FRAMES], contexts, captions, *tables)


def sample_camera(num_blocks: int, longest: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Camera words per block: moves of 1 to `longest` blocks, mostly turning back, some holds of 1 to 6."""
    words: list[str] = []
    direction = str(rng.choice(("left", "right")))
    while len(words) < num_blocks:
        if rng.random() < 0.2:
            words += ["hold"] * int(rng.integers(1, 7))
        else:
            words += [direction] * int(rng.integers(1, longest + 1))
            direction = "left" if direction == "right" else "right"
    return tuple(words[:num_blocks])


def _sample_clip(
    bank: WorldBank, config: TrainConfig, blocks: int, num_astray: int, rng: np.random.Generator
) -> Clip:
    world = int(rng.integers(len(bank.scenes)))
    words = sample_camera(blocks, int(rng.choice(config.longest_moves)), rng)
    path = camera_cells(words)
    path = path - path.min()
    path = path + int(rng.integers(0, bank.cells - VIEW_CELLS - path.max() + 1))
    names, shares = zip(*config.method_shares, strict=True)
    method = str(rng.choice(names, p=shares))
    views, phases = path[:, None] + np.arange(VIEW_CELLS), np.arange(len(path)) % 2
    latents = bank.view_latents(world, views, phases)
    tables = _context_tables(method, path, _likeness(latents, rng), config, rng)
    astray = rng.permutation(np.arange(1, blocks - 1))[:num_astray]
    if num_astray:
        shown = np.concatenate([_lead_astray(block, views, tables[0], bank.cells, rng) for block in astray])
        frames = np.concatenate([block * BLOCK_FRAMES + np.arange(BLOCK_FRAMES) for block in astray])
        latents = torch.cat((latents, bank.view_latents(world, shown, phases[frames])))
    for version, block in enumerate(astray):
        reader = tables[0][block + 1]
        seen = reader // BLOCK_FRAMES == block
        reader[seen] += (blocks + version - block) * BLOCK_FRAMES
    return Clip(
        latents=latents,
        captions=torch.stack([caption_embeds(bank.scenes[world], word) for word in CAMERA]),
        caption_rows=torch.tensor([list(CAMERA).index(word) for word in words]),
        tables=tables,
        astray=astray,
    )


def _lead_astray(
    block: int, views: np.ndarray, frames: np.ndarray, num_cells: int, rng: np.random.Generator
) -> np.ndarray:
    """Cells [3, 8] of a block that shows another place in its newest columns.

    Only columns change that the next block's context has right elsewhere, so that it can be put right.
    """
    shown = views[block * BLOCK_FRAMES : (block + 1) * BLOCK_FRAMES]
    attended = frames[block + 1]
    remembered = attended[(attended >= 0) & (attended < block * BLOCK_FRAMES)]
    step = views[(block + 1) * BLOCK_FRAMES, 0] - shown[-1, 0] or rng.choice((-1, 1))
    length = int(rng.integers(1, MAX_ASTRAY_CELLS + 1))
    skipped = int(rng.choice((0, 0, 0, 1, 2, 3)))
    first = shown[-1, -1] - skipped - length + 1 if step > 0 else shown[-1, 0] + skipped
    run = np.arange(first, first + length)
    wrong = run[np.isin(run, views[remembered])]
    elsewhere = int(rng.integers(0, num_cells - length + 1))
    return np.where(np.isin(shown, wrong), shown - first + elsewhere, shown)


def _likeness(latents: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Cosines [F, F] of latents [F, 16, 8, 8] in an embedding of their rows that is this clip's own.

    Random projections, narrow and wide: what retrieval finds must not be known from one embedding's mistakes.
    """
    rows = latents.mean(-1).flatten(1)
    width = int(rng.choice((4, 8, 16)))
    projection = torch.from_numpy(rng.standard_normal((rows.shape[1], width))).float()
    embeddings = F.normalize(rows @ projection, dim=-1)
    return (embeddings @ embeddings.T).numpy()


def _context_tables(
    method: str, path: np.ndarray, alike: np.ndarray, config: TrainConfig, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    blocks = len(path) // BLOCK_FRAMES
    frames = np.full((blocks, CONTEXT_FRAMES), -1)
    positions = np.zeros((blocks, CONTEXT_FRAMES), int)
    block_positions = np.zeros((blocks, BLOCK_FRAMES), int)
    gap = int(rng.integers(0, MAX_NATIVE_GAP))
    for block in range(blocks):
        start = block * BLOCK_FRAMES
        uses_memory = method == "longlive_rag" and start > 0
        retrieved = np.zeros(0, int)
        if uses_memory:
            retrieved = choose_retrieved(
                path,
                start,
                rng,
                alike,
                alike_share=config.alike_share,
                early_share=config.early_share,
                same_way_share=config.same_way_share,
                guard_share=config.guard_share,
            )
        plan = layout(method, start, retrieved, gap if start > 9 else 0)
        frames[block, : len(plan.frames)] = plan.frames
        positions[block, : len(plan.positions)] = plan.positions
        block_positions[block] = plan.block_positions
    return frames, positions, block_positions
