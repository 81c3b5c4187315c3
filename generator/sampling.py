"""Rectified-flow sampling in few steps, as pure functions.

x_sigma = (1 - sigma) * x0 + sigma * noise and flow = noise - x0 (Self-Forcing, section 3; the shift is that
of Stable Diffusion 3). Tables are float32 and the conversion from flow is done in float64, as the reference
does. Shapes: n frames of a block, "..." whatever the latents carry beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generator.configs import Sampling

TRAIN_STEPS = 1000


@dataclass(frozen=True)
class Schedule:
    """The table of noise levels: `sigmas` and `timesteps` = 1000 * sigma, float32 [1000], falling."""

    sigmas: Tensor
    timesteps: Tensor


def flow_schedule(shift: float) -> Schedule:
    """sigma' = shift * sigma / (1 + (shift - 1) * sigma) over 1000 levels from 1, the last (0) left out."""
    sigmas = torch.linspace(1.0, 0.0, TRAIN_STEPS + 1)[:-1]
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    return Schedule(sigmas, sigmas * TRAIN_STEPS)


def warp(schedule: Schedule, steps: Sequence[float]) -> Tensor:
    """Timesteps at the positions 1000 - step of the schedule, float32 [len(steps)]; step 0 gives 0."""
    table = torch.cat([schedule.timesteps, torch.zeros(1)])
    return table[torch.tensor([TRAIN_STEPS - int(step) for step in steps])]


def pass_timesteps(sampling: Sampling, schedule: Schedule) -> Tensor:
    """Timesteps of the denoising passes of a block, float32 [passes]."""
    return warp(schedule, sampling.steps) if sampling.warped else torch.tensor(sampling.steps)


def nearest_index(schedule: Schedule, timestep: Tensor) -> Tensor:
    """Index of the nearest table entry of each timestep, the first of equals."""
    return (schedule.timesteps - timestep.reshape(-1, 1)).abs().argmin(dim=1).reshape(timestep.shape)


def sigma_at(schedule: Schedule, timestep: Tensor) -> Tensor:
    """Noise level of the nearest table entry of each timestep, float32, shaped as `timestep`."""
    return schedule.sigmas[nearest_index(schedule, timestep)]


def to_x0(x: Tensor, flow: Tensor, sigma: Tensor) -> Tensor:
    """x0 = x - sigma * flow; sigma broadcasts over the trailing dimensions."""
    return (x.double() - _over(sigma, x).double() * flow.double()).to(flow.dtype)


def to_flow(x: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """flow = (x - x0) / sigma, the inverse of `to_x0`; sigma must not be 0."""
    return ((x.double() - x0.double()) / _over(sigma, x).double()).to(x0.dtype)


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) * x0 + sigma * noise in float32, cast to the dtype of `noise`."""
    sigma = _over(sigma, x0)
    return ((1 - sigma) * x0 + sigma * noise).to(noise.dtype)


def euler_step(x: Tensor, flow: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One step of the probability flow, from noise level `sigma` to `sigma_next`."""
    return x + flow * _over(sigma_next - sigma, x)


def training_weights(schedule: Schedule) -> Tensor:
    """Bell-shaped weight of each timestep in the flow-matching loss, mean 1, float32 [1000]."""
    bell = torch.exp(-2 * ((schedule.timesteps - TRAIN_STEPS / 2) / TRAIN_STEPS) ** 2)
    lifted = bell - bell.min()
    return lifted * (TRAIN_STEPS / lifted.sum())


def denoise(
    flow_of: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    renoise: Sequence[Tensor],
    timesteps: Tensor,
    sigmas: Tensor,
) -> Tensor:
    """x0 of a block in len(timesteps) passes; between two passes x0 is noised again with fresh noise.

    `flow_of(x, timestep)` is the model, noise is [n, ...], renoise holds len(timesteps) - 1 tensors of that
    shape.
    """
    x = noise
    for step, (timestep, sigma) in enumerate(zip(timesteps, sigmas, strict=True)):
        x0 = to_x0(x, flow_of(x, timestep), sigma)
        if step + 1 < len(timesteps):
            x = add_noise(x0, renoise[step], sigmas[step + 1])
    return x0


def _over(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.to(x.device).reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))
