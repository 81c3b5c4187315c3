"""Noise depends on prompt, seed and shape alone, and is drawn in the reference's order."""

from __future__ import annotations

import pytest
import torch

from generator.noise import NoiseAhead, SeededNoise, noise_seed

SHAPE = (2, 3, 4)


def make(prompt: str = "a village", seed: int = 0, passes: int = 4) -> SeededNoise:
    return SeededNoise(prompt, seed, blocks=3, block_frames=3, passes=passes, latent_shape=SHAPE)


def test_order_of_draws() -> None:
    """One draw for all frames, then passes - 1 per block."""
    noise = make()
    generator = torch.Generator().manual_seed(noise_seed("a village", 0))
    initial = torch.randn(3, 3, *SHAPE, generator=generator)
    for index in range(3):
        block = noise.block(index)
        assert torch.equal(block.initial, initial[index])
        for step in range(3):
            assert torch.equal(block.renoise[step], torch.randn(3, *SHAPE, generator=generator))


def test_prompt_and_seed_both_count_and_the_global_generator_does_not() -> None:
    torch.manual_seed(1)
    first = make().block(0).initial
    torch.manual_seed(2)
    assert torch.equal(make().block(0).initial, first)
    assert not torch.equal(make(seed=1).block(0).initial, first)
    assert not torch.equal(make(prompt="a forest").block(0).initial, first)


def test_skipped_blocks_do_not_change_later_ones() -> None:
    every, last = make(), make()
    for index in range(3):
        expected = every.block(index)
    actual = last.block(2)
    assert torch.equal(actual.initial, expected.initial)
    assert torch.equal(actual.renoise, expected.renoise)


def test_a_block_is_drawn_once() -> None:
    noise = make()
    noise.block(1)
    with pytest.raises(IndexError, match="next to draw is 2"):
        noise.block(1)
    with pytest.raises(IndexError):
        noise.block(3)


def test_a_single_pass_draws_no_more() -> None:
    assert make(passes=1).block(0).renoise.shape == (0, 3, *SHAPE)


def test_noise_drawn_ahead_is_the_same_noise() -> None:
    def drawn() -> SeededNoise:
        return SeededNoise("a", 0, blocks=4, block_frames=1, passes=2, latent_shape=(2, 2, 2))

    plain, ahead = drawn(), NoiseAhead(drawn(), 4)
    for index in range(4):
        expected = plain.block(index)
        assert torch.equal(ahead.block(index).initial, expected.initial)
        assert torch.equal(ahead.block(index).renoise, expected.renoise)
        if index == 1:
            ahead.draw(2)
