"""Numbers of embeddings and of choices, against cases whose answer is known."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from encoder.evaluation.choices import Choice, found, latent_likeness, variety
from encoder.evaluation.confidence import bootstrap_interval, estimate
from encoder.evaluation.cost import Machine, Work, measure_machine, seconds_per_frame, work
from encoder.evaluation.geometry import cosine_by_lag, effective_rank, geometry
from encoder.evaluation.selection import cosine_matrix
from encoder.evaluation.views import Views
from encoder.evaluation.window import Window
from encoder.model import LatentAE, LatentAEConfig
from encoder.pooling import AvgPool


def values_at_random(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def turning(num_frames: int, degrees: float) -> np.ndarray:
    """Unit vectors [T, 2], each so far from the one before."""
    angles = np.deg2rad(degrees) * np.arange(num_frames)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_cosines_are_of_directions_alone() -> None:
    rows = values_at_random(9, 5)
    scaled = rows * np.linspace(0.1, 9, 9, dtype=np.float32)[:, None]
    expected = np.corrcoef(rows - rows.mean(axis=1, keepdims=True))
    assert cosine_matrix(rows) == pytest.approx(cosine_matrix(scaled), abs=1e-6)
    assert cosine_matrix(rows - rows.mean(axis=1, keepdims=True)) == pytest.approx(expected, abs=1e-6)
    assert latent_likeness(scaled) == pytest.approx(cosine_matrix(rows), abs=1e-6)
    assert not cosine_matrix(np.zeros((2, 3), np.float32)).any(), "zero is like nothing"


def test_cosine_by_lag_is_the_mean_over_pairs_that_far_apart() -> None:
    curve = cosine_by_lag(cosine_matrix(turning(40, 7.0)), max_lag=64)
    lags = np.arange(1, 40)
    np.testing.assert_allclose(curve[:39], np.cos(np.deg2rad(7.0 * lags)), atol=1e-6)
    assert np.isnan(curve[39:]).all()


def test_geometry_names_its_numbers_and_leaves_out_what_a_short_video_lacks() -> None:
    rows = turning(40, 3.0)
    numbers = geometry(rows, cosine_by_lag(cosine_matrix(rows)))
    assert numbers["cosine_lag_2"] == pytest.approx(np.cos(np.deg2rad(6)))
    assert numbers["drop_to_lag_24"] == pytest.approx(np.cos(np.deg2rad(3)) - np.cos(np.deg2rad(72)))
    short = geometry(rows[:3], cosine_by_lag(cosine_matrix(rows[:3])))
    assert short["cosine_lag_2"] is not None
    assert short["cosine_lag_3"] is None
    assert short["drop_to_lag_24"] is None


def test_effective_rank_counts_directions() -> None:
    axes = np.eye(6, dtype=np.float32)
    assert effective_rank(np.concatenate([axes[:4], -axes[:4]])) == pytest.approx(4)
    unequal = np.concatenate([3 * axes[:1], -3 * axes[:1], axes[1:2], -axes[1:2]])
    shares = np.array([0.9, 0.1])
    assert effective_rank(unequal) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(np.tile(values_at_random(6), (30, 1))) == 1
    line = np.linspace(-1, 1, 9, dtype=np.float32)[:, None] * axes[:1] + 5
    assert effective_rank(line) == pytest.approx(1, abs=1e-5), "the mean does not count"
    wide = values_at_random(7, 40)
    padded = np.concatenate([wide, np.tile(wide.mean(axis=0), (50, 1))])
    assert effective_rank(wide) == pytest.approx(effective_rank(padded)), "whichever side is longer"


@pytest.fixture
def there_and_back() -> Views:
    return Views(np.array([*range(30), *range(28, -1, -1)]), view_cells=8)


def test_recall_and_hit_rate_are_of_returns_coverage_of_blocks_that_need(there_and_back: Views) -> None:
    window = Window()
    first, back = window.step(24), window.step(48)
    assert there_and_back.same_place(47, back.eligible) == frozenset(range(7, 16))

    def numbers(*frames: int, k: int = 6) -> dict[str, float | None]:
        return found([Choice(first, (1, 2)), Choice(back, frames)], there_and_back, k)

    right = numbers(7, 8, 9, 10, 11, 15)
    assert (right["recall_at_k"], right["hit_rate"], right["coverage"]) == (1, 1, 1)
    some = numbers(15, 11, 29, 30, 31, 1)
    assert some["recall_at_k"] == pytest.approx(2 / 6)
    assert some["hit_rate"] == 1
    # The block's new columns are 8 to 10; frame 11 shows 11 to 18, frame 30 the columns from 28 on.
    assert numbers(11, 30)["coverage"] == 0
    assert numbers(10, 30)["coverage"] == pytest.approx(1 / 3)
    assert numbers(30, 31)["hit_rate"] == 0
    assert numbers(*range(7, 16), k=20)["recall_at_k"] == 1, "more than there are cannot be asked for"


def test_recall_is_empty_without_a_return(there_and_back: Views) -> None:
    numbers = found([Choice(Window().step(24), (1, 2))], there_and_back, 6)
    assert numbers == {"recall_at_k": None, "hit_rate": None, "coverage": None}
    still = Views(np.zeros(60, np.int64), view_cells=8)
    numbers = found([Choice(Window().step(30), (1, 2))], still, 6)
    assert numbers == {"recall_at_k": None, "hit_rate": None, "coverage": None}, "it never left the view"


def test_spread_extent_redundancy_and_near_duplicates() -> None:
    step = Window().step(30)
    likeness = latent_likeness(np.eye(20, dtype=np.float32)[[*range(10), *range(10)]])
    numbers = variety([Choice(step, (1, 3, 5)), Choice(step, (2, 12, 4, 14)), Choice(step, (7,))], likeness)
    assert numbers["spread_frames"] == pytest.approx((np.std([1, 3, 5]) + np.std([2, 12, 4, 14])) / 2)
    assert numbers["extent_frames"] == pytest.approx((4 + 12) / 2)
    assert numbers["redundancy"] == pytest.approx((0 + 2 / 6) / 2)
    assert numbers["near_duplicates"] == pytest.approx((0 + 2 / 4) / 2), "the first of its kind is none"
    assert set(variety([Choice(step, (7,))], likeness).values()) == {None}


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    inside = 0
    for trial in range(200):
        bounds = estimate(np.random.default_rng(trial).normal(2.0, 1.0, 30).tolist())
        assert bounds is not None
        assert bounds.low is not None
        assert bounds.high is not None
        assert bounds.low < bounds.mean < bounds.high
        inside += bounds.low <= 2.0 <= bounds.high
    assert 0.88 <= inside / 200 <= 0.98


def test_an_interval_is_seeded_and_knows_what_is_missing() -> None:
    values = [1.0, None, 2.0, 4.0, *np.sqrt(np.arange(20)).tolist()]
    one, again, other = estimate(values), estimate(values), estimate(values, seed=1)
    assert one is not None
    assert one == again
    assert one != other
    assert (one.mean, one.num_videos) == (pytest.approx((7 + np.sqrt(np.arange(20)).sum()) / 23), 23)
    assert estimate([None, 3.0]) == replace(one, mean=3.0, low=None, high=None, num_videos=1)
    assert estimate([None]) is None


def test_a_curves_interval_leaves_out_what_is_missing() -> None:
    curves = values_at_random(8, 3).astype(np.float64)
    curves[:7, 2] = np.nan
    low, high = bootstrap_interval(curves)
    whole = estimate(curves[:, 0].tolist())
    assert whole is not None
    assert (low[0], high[0]) == pytest.approx((whole.low, whole.high))
    assert (low[2], high[2]) == pytest.approx((curves[7, 2], curves[7, 2]))


def test_work_is_counted_by_hand() -> None:
    model = LatentAE(LatentAEConfig(in_channels=4, height=8, width=8, embedding_dim=10, hidden_dims=(16,)))
    block = torch.zeros(3, 4, 8, 8, dtype=torch.bfloat16)
    down, residual, head = 16 * 16 * 4 * 9, 2 * 16 * 16 * 16 * 9, 16 * 10
    weights = sum(parameter.numel() for parameter in model.encoder.parameters())
    counted = work(model.eval(), block)
    assert counted.flops == 2 * (down + residual + head)
    assert counted.bytes == pytest.approx((3 * 4 * 64 * 2 + 3 * 10 * 4 + weights * 4) / 3)
    pooled = work(AvgPool(4), block)
    assert (pooled.flops, pooled.bytes) == (0, 4 * 64 * 2 + 4 * 4)


def test_the_floor_is_the_slower_of_arithmetic_and_traffic() -> None:
    machine = Machine(flops_per_s=100.0, bytes_per_s=10.0)
    assert Work(flops=200.0, bytes=10.0).floor_s(machine) == 2
    assert Work(flops=200.0, bytes=10.0).bound(machine) == "arithmetic"
    assert Work(flops=200.0, bytes=30.0).floor_s(machine) == 3
    assert Work(flops=200.0, bytes=30.0).bound(machine) == "memory"


def test_rates_are_this_machines_and_its_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        machine = measure_machine()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert 1e9 < machine.flops_per_s < 1e13
    assert 1e8 < machine.bytes_per_s < 1e12


def test_seconds_are_per_frame() -> None:
    class Slow(AvgPool):
        def encode(self, latents_FCHW: Tensor) -> Tensor:
            time.sleep(0.03)
            return super().encode(latents_FCHW)

    assert 0.001 <= seconds_per_frame(Slow(4), [torch.ones(30, 4, 2, 2)] * 3) < 0.03
