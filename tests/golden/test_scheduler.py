"""Noise schedule, warped steps and the conversions between x, x0, noise and flow."""

from __future__ import annotations

import torch

from generator import sampling


def test_scheduler(case) -> None:
    for shift in case.config.shifts:
        check_shift(case, shift)


def check_shift(case, shift: float) -> None:
    prefix = f"shift{shift:g}_"
    schedule = sampling.flow_schedule(shift)
    case.check(prefix + "sigmas", schedule.sigmas)
    case.check(prefix + "timesteps", schedule.timesteps)
    case.check(prefix + "warped_steps", sampling.warp(schedule, case.config.denoising_step_list))
    steps = case.config.warped_steps_with0_from
    case.check(prefix + "warped_steps_with0", sampling.warp(schedule, steps))

    queries = case[prefix + "query_t"]
    index = sampling.nearest_index(schedule, queries)
    assert torch.equal(index, case[prefix + "nearest_index"])
    sigma = sampling.sigma_at(schedule, queries)
    x0, noise, flow = (case[prefix + name] for name in ("x0", "noise", "flow"))
    x = case[prefix + "add_noise"]
    case.check(prefix + "add_noise", sampling.add_noise(x0, noise, sigma))
    case.check(prefix + "flow_to_x0", sampling.to_x0(x, flow, sigma))
    case.check(prefix + "x0_to_flow", sampling.to_flow(x, x0, sigma))
    lower = torch.cat([schedule.sigmas, torch.zeros(1)])[index + 1]
    case.check(prefix + "step", sampling.euler_step(x, flow, sigma, lower))
    case.check(prefix + "step_to_final", sampling.euler_step(x, flow, sigma, torch.zeros_like(sigma)))

    weights = sampling.training_weights(schedule)
    case.check(prefix + "training_weights", weights)
    case.check(prefix + "training_weight_q", weights[index])
    case.check(prefix + "training_target", noise - x0)
