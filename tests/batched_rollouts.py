"""Batched rollouts of the toy by the attention of its training: a second implementation to compare with.

The same contexts, positions and sampling as generator/rollout.py (a test holds them together),
without a memory service: V videos advance block by block in one batch, history stays in tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from generator.story.text import PromptTrack
from generator.toy.attention import Plan, context_plan, install
from generator.toy.config import SIGMAS
from generator.toy.context import CONTEXT_FRAMES, WINDOW, layout
from generator.toy.prompts import BLOCK_FRAMES

GUARD = 5
Retrieve = Callable[[Tensor, int], list[np.ndarray]]
"""(latents so far [V, t, 16, 8, 8], t) -> frames for the block at t, one array per video."""


@dataclass
class Rollouts:
    """V rollouts of one method, in step."""

    model: WanTransformer3DModel
    method: str
    tracks: Sequence[PromptTrack]
    retrieve: Retrieve | None = None
    sigmas: Sequence[float] = SIGMAS
    seed: int = 0
    dtype: torch.dtype = torch.bfloat16
    """Of the matrix products; weights stay as they are."""

    def __post_init__(self) -> None:
        self.rope = install(self.model)
        self.noise = torch.Generator().manual_seed(self.seed)
        self.captions = torch.cat([track.embeds for track in self.tracks])
        offsets = np.cumsum([0, *(len(track.embeds) for track in self.tracks)])[:-1]
        rows = [np.add(track.rows, offset) for track, offset in zip(self.tracks, offsets, strict=True)]
        self.rows = torch.from_numpy(np.stack(rows))
        self.num_blocks = self.rows.shape[1]
        self.latents = torch.zeros(len(self.tracks), 0, 16, 8, 8)
        self.retrieved: list[list[np.ndarray]] = []
        self.bank: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def run(self, prefix: Tensor | None = None) -> Tensor:
        """Roll out every block; `prefix` [V, 3 n, 16, 8, 8] gives true first blocks. [V, F, ...]"""
        given = 0 if prefix is None else prefix.shape[1]
        for block in range(self.num_blocks):
            start = block * BLOCK_FRAMES
            plan = self._plan(block)
            if start < given:
                x0 = prefix[:, start : start + BLOCK_FRAMES].transpose(1, 2)
            else:
                x0 = self._denoise(plan)
            plan.written = []
            self._flow(x0, 0.0, plan)
            self._remember(plan.written)
            self.latents = torch.cat((self.latents, x0.transpose(1, 2)), 1)
        return self.latents

    def _plan(self, block: int) -> Plan:
        start, videos = block * BLOCK_FRAMES, len(self.tracks)
        nothing = [np.zeros(0, int)] * videos
        uses_memory = self.retrieve is not None and start > WINDOW + GUARD
        chosen = self.retrieve(self.latents, start) if uses_memory and self.retrieve else nothing
        self.retrieved.append(chosen)
        frames = torch.full((videos, CONTEXT_FRAMES), -1)
        positions = torch.zeros(videos, CONTEXT_FRAMES, dtype=int)
        for video in range(videos):
            spot = layout(self.method, start, chosen[video])
            frames[video, : len(spot.frames)] = torch.from_numpy(spot.frames * videos + video)
            positions[video, : len(spot.positions)] = torch.from_numpy(spot.positions)
        frames = torch.where(frames >= 0, frames, -1)
        block_positions = torch.from_numpy(spot.block_positions).expand(videos, -1)
        plan = context_plan(frames, positions, block_positions, self.rows[:, block], self.model)
        plan.bank = self.bank if start else None
        plan.num_clean = videos
        return plan

    def _flow(self, x: Tensor, sigma: float, plan: Plan) -> Tensor:
        self.rope.plan = plan
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            timestep = torch.full((len(x),), 1000 * sigma)
            return self.model(x, timestep, self.captions, return_dict=False)[0].float()

    def _denoise(self, plan: Plan) -> Tensor:
        shape = (len(self.tracks), 16, BLOCK_FRAMES, 8, 8)
        x = torch.randn(shape, generator=self.noise)
        for step, sigma in enumerate(self.sigmas):
            x0 = x - sigma * self._flow(x, sigma, plan)
            if step + 1 < len(self.sigmas):
                following = self.sigmas[step + 1]
                fresh = torch.randn(shape, generator=self.noise)
                x = (1 - following) * x0 + following * fresh
        return x0

    def _remember(self, written: list[tuple[Tensor, Tensor]]) -> None:
        """Append each layer's K and V; frame f of video v lies at row f * V + v."""

        def by_frame(part: Tensor) -> Tensor:
            return part.unflatten(1, (BLOCK_FRAMES, -1)).transpose(0, 1).flatten(0, 1)

        fresh = [(by_frame(k), by_frame(v)) for k, v in written]
        if not self.bank:
            self.bank = fresh
        else:
            self.bank = [
                (torch.cat((k, new_k)), torch.cat((v, new_v)))
                for (k, v), (new_k, new_v) in zip(self.bank, fresh, strict=True)
            ]


def eligible(start: int) -> np.ndarray:
    """Frames that the block at `start` may retrieve: evicted and past the guard, never the sink."""
    return np.arange(1, max(start - WINDOW - GUARD + 1, 1))
