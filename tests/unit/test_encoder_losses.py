"""Losses against the paper's formulas written out; values of the reference are in tests/golden."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from encoder.losses import LossConfig, delta_loss, losses, smooth_loss


@pytest.fixture
def embeddings() -> Tensor:
    """Three clips of six frames on slow paths, so that some cosines are above the margin and some below."""
    generator = torch.Generator().manual_seed(3)
    steps = torch.randn(3, 6, 5, generator=generator)
    return (torch.randn(3, 1, 5, generator=generator) + 0.4 * steps.cumsum(1)).double()


def test_delta_is_the_papers_sum(embeddings: Tensor) -> None:
    margin, window = 0.85, 4
    clips = embeddings.tolist()
    total = 0.0
    for offset in range(1, window + 1):
        hinges = [
            max(0.0, cosine(clip[t], clip[t - offset]) - margin) for clip in clips for t in range(offset, 6)
        ]
        assert any(hinges)
        assert not all(hinges)
        total += sum(hinges) / len(hinges) / window
    assert delta_loss(embeddings, margin, window).item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("form", ["norm", "squared"])
def test_smoothness_of_either_form(embeddings: Tensor, form: str) -> None:
    found = []
    for clip in embeddings.tolist():
        for before, here, after in zip(clip, clip[1:], clip[2:], strict=False):
            squared = sum((a - 2 * b + c) ** 2 for a, b, c in zip(after, here, before, strict=True))
            found.append(squared if form == "squared" else math.sqrt(squared))
    assert smooth_loss(embeddings, form).item() == pytest.approx(sum(found) / len(found), rel=1e-6)


def test_a_straight_path_is_smooth_and_its_gradient_is_finite() -> None:
    path = torch.arange(5.0)[None, :, None].expand(2, 5, 3).clone().requires_grad_()
    smooth_loss(path).backward()
    assert path.grad is not None
    assert path.grad.abs().max() == 0


def test_the_window_ends_with_the_clip(embeddings: Tensor) -> None:
    short = embeddings[:, :3]
    assert torch.equal(delta_loss(short, 0.2, 9), delta_loss(short, 0.2, 2))
    assert delta_loss(embeddings[:, :1], 0.2, 3) == 0
    assert smooth_loss(embeddings[:, :2]) == 0


def test_a_weight_of_zero_leaves_its_term_out(embeddings: Tensor) -> None:
    latents = torch.zeros(18, 2, 2, 2)
    spoiled = embeddings.clone()
    spoiled[0, 0] = math.nan
    terms = losses(latents + 2, latents, spoiled, LossConfig(delta_weight=0, smooth_weight=0))
    assert [*map(float, terms)] == [4, 0, 0]
    assert terms.total == 4


def test_half_precision_is_summed_in_float32() -> None:
    embeddings = torch.full((1, 3, 4), 200.0, dtype=torch.float16)
    embeddings[:, 1] = -200
    terms = losses(torch.zeros(3, 1), torch.zeros(3, 1), embeddings, LossConfig(smooth_form="squared"))
    assert float(terms.smooth) == 4 * 800.0**2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delta_weight", -0.1),
        ("smooth_weight", -1.0),
        ("delta_margin", 1.5),
        ("delta_window", 0),
        ("smooth_form", "cubed"),
    ],
)
def test_other_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        LossConfig(**{field: value})


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
