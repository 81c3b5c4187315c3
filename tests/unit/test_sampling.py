"""The few-step schedule of the released configurations, and the arithmetic around it."""

from __future__ import annotations

import pytest
import torch

from generator.configs import Sampling
from generator.errors import ConfigError
from generator.sampling import (
    add_noise,
    denoise,
    flow_schedule,
    pass_timesteps,
    sigma_at,
    to_flow,
    to_x0,
)


def test_released_timesteps_and_sigmas() -> None:
    schedule = flow_schedule(5.0)
    timesteps = pass_timesteps(Sampling(), schedule)
    assert timesteps.tolist() == [1000.0, 937.5, 833.3333129882812, 625.0]
    assert sigma_at(schedule, timesteps).tolist() == [1.0, 0.9375, 0.8333333134651184, 0.625]


def test_unwarped_steps_are_timesteps() -> None:
    sampling = Sampling(steps=(1000, 940, 100), shift=1.0, warped=False)
    schedule = flow_schedule(sampling.shift)
    timesteps = pass_timesteps(sampling, schedule)
    assert timesteps.tolist() == [1000.0, 940.0, 100.0]
    torch.testing.assert_close(sigma_at(schedule, timesteps), torch.tensor([1.0, 0.94, 0.1]))


def test_conversions_are_inverse() -> None:
    x0, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    sigma = torch.tensor([0.9, 0.3])
    x = add_noise(x0, noise, sigma)
    torch.testing.assert_close(to_x0(x, noise - x0, sigma), x0)
    torch.testing.assert_close(to_flow(x, x0, sigma), noise - x0)


def test_denoise_renoises_between_passes_and_not_after_the_last() -> None:
    x0, seen = torch.randn(3, 2), []
    noise, renoise = torch.randn(3, 2), torch.randn(2, 3, 2)
    timesteps, sigmas = torch.tensor([1000.0, 500.0, 250.0]), torch.tensor([1.0, 0.5, 0.25])

    def perfect_flow(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append((x, float(timestep)))
        return (x - x0) / sigmas[len(seen) - 1]

    torch.testing.assert_close(denoise(perfect_flow, noise, renoise, timesteps, sigmas), x0)
    assert [timestep for _, timestep in seen] == timesteps.tolist()
    torch.testing.assert_close(seen[0][0], noise)
    torch.testing.assert_close(seen[1][0], 0.5 * x0 + 0.5 * renoise[0])
    torch.testing.assert_close(seen[2][0], 0.75 * x0 + 0.25 * renoise[1])


def test_latents_keep_their_dtype() -> None:
    noise = torch.randn(3, 2).bfloat16()
    out = denoise(lambda x, _: x, noise, noise[None], torch.tensor([1000.0, 500.0]), torch.tensor([1.0, 0.5]))
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize("steps", [(), (250, 500), (1000, 0), (1200, 500)])
def test_steps_that_cannot_be_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="steps"):
        Sampling(steps=steps)
