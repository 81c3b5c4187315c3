"""Flow matching as Wan does it: x = (1 - sigma) x0 + sigma eps, the model predicts eps - x0."""

from __future__ import annotations

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from generator.toy.attention import Plan, PlanRope, make_plan
from generator.toy.clips import Batch
from generator.toy.config import TrainConfig


def sample_sigmas(count: int, shift: float) -> Tensor:
    """Stratified noise levels in (0, 1], denser near 1 as shift grows; a tenth is exactly 1."""
    uniform = (torch.randperm(count) + torch.rand(count)) / count
    uniform = (uniform / 0.9).clamp(max=1.0)
    return shift * uniform / (1 + (shift - 1) * uniform)


def loss_terms(
    model: WanTransformer3DModel, rope: PlanRope, batch: Batch, config: TrainConfig, own_share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return velocity loss per noisy element [B * draws], their sigmas, and x0 errors."""
    plan = make_plan(batch, config.draws, model)
    context = noisy_context(batch.contexts, config.context_noise)
    if own_share > 0:
        context = own_context(model, rope, batch, plan, context, config, own_share)
    x0 = batch.targets.repeat(config.draws, 1, 1, 1, 1)
    sigmas = sample_sigmas(len(x0), config.sigma_shift)
    noise = torch.randn_like(x0)
    velocity = predict(model, rope, batch, plan, context, x0, noise, sigmas)
    error = (velocity - (noise - x0)).pow(2).mean((1, 2, 3, 4))
    return error, sigmas, error.detach() * sigmas**2


def predict(
    model: WanTransformer3DModel,
    rope: PlanRope,
    batch: Batch,
    plan: Plan,
    context: Tensor,
    x0: Tensor,
    noise: Tensor,
    sigmas: Tensor,
) -> Tensor:
    """Velocity of the noisy elements, with `context` as the clean elements of the same forward."""
    level = sigmas.view(-1, 1, 1, 1, 1)
    rope.plan = plan
    with torch.autocast("cpu", torch.bfloat16):
        output = model(
            torch.cat((context, (1 - level) * x0 + level * noise)),
            torch.cat((torch.zeros(len(context)), 1000 * sigmas)),
            batch.captions,
            return_dict=False,
        )[0]
    return output[len(context) :].float()


def noisy_context(latents: Tensor, largest: float) -> Tensor:
    """Half of the blocks as they are, the others with noise of up to `largest`."""
    level = largest * (2 * torch.rand(len(latents), 1, 1, 1, 1) - 1).clamp(min=0)
    return latents + level * torch.randn_like(latents)


@torch.no_grad()
def own_context(
    model: WanTransformer3DModel,
    rope: PlanRope,
    batch: Batch,
    plan: Plan,
    context: Tensor,
    config: TrainConfig,
    share: float,
) -> Tensor:
    """Replace a share of context blocks by the model's own one-step estimates of them.

    Noise stays moderate, so that an estimate errs in style and not in what stands where.
    """
    x0 = batch.targets.repeat(config.draws, 1, 1, 1, 1)
    noise, sigmas = torch.randn_like(x0), 0.15 + 0.6 * torch.rand(len(x0))
    velocity = predict(model, rope, batch, plan, context, x0, noise, sigmas)
    level = sigmas.view(-1, 1, 1, 1, 1)
    estimate = ((1 - level) * x0 + level * noise - level * velocity)[: len(batch.targets)]
    chosen = (torch.rand(len(estimate)) < share).view(-1, 1, 1, 1, 1)
    mixed = torch.where(chosen, estimate, context[: len(estimate)])
    return torch.cat((mixed, context[len(estimate) :]))
