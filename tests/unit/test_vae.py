"""Streamed decoding on a tiny random autoencoder: without a seam, and with the reference's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from tiny_wan import vae
from torch import Tensor

from generator.errors import ConfigError
from generator.wan.vae import Pixels, WanVAE


def at_once(model: AutoencoderKLWan, latents: Tensor) -> Pixels:
    """What diffusers decodes without any stream, with the constants of its configuration."""
    mean, std = (
        torch.tensor(model.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std")
    )
    with torch.inference_mode():
        whole = model.decode(latents.transpose(0, 1)[None] * std + mean).sample[0]
    return ((whole.clamp(-1, 1) * 0.5 + 0.5) * 255).byte().permute(1, 2, 3, 0).numpy()


def streamed(decoder: WanVAE, latents: Tensor, split: int | list[int]) -> Pixels:
    decode = decoder.stream()
    return np.concatenate([decode(part) for part in latents.split(split)])


def test_latents_are_scaled_by_wans_constants() -> None:
    config = vae().config
    assert config.latents_mean[0] == pytest.approx(-0.7571)
    assert config.latents_std[15] == pytest.approx(1.9160)


@pytest.mark.parametrize("split", [[3, 3, 3], [1, 8], [9]])
def test_streamed_decoding_equals_decoding_at_once(split: list[int]) -> None:
    model, latents = vae(), torch.randn(9, 16, 4, 4)
    pixels = streamed(WanVAE(model), latents, split)
    assert pixels.shape == (4 * 9 - 3, 32, 32, 3)
    assert np.abs(pixels.astype(int) - at_once(model, latents)).max() <= 1


@pytest.mark.parametrize("split", [[3, 3, 3, 2], [11], [1, 5, 5]])
def test_chunks_decode_as_if_each_were_a_video(split: list[int]) -> None:
    model, latents = vae(), torch.randn(11, 16, 4, 4)
    pixels = streamed(WanVAE(model, chunk_frames=4), latents, split)
    expected = np.concatenate([at_once(model, chunk) for chunk in latents.split(4)])
    assert len(pixels) == len(expected) == 4 * 11 - 3 * 3
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    remembered = at_once(model, latents)[17:29]
    assert np.abs(expected[14:26].astype(int) - remembered).max() > 1, "forgetting makes no difference"


@pytest.mark.parametrize(("chunk", "count"), [(None, 477), (60, 474)])
def test_120_latent_frames_give_477_pixel_frames_and_474_in_chunks_of_60(
    chunk: int | None, count: int
) -> None:
    decoder = WanVAE(vae(), chunk_frames=chunk)
    assert len(streamed(decoder, torch.zeros(120, 16, 1, 1), 3)) == count


def test_each_stream_is_a_video_of_its_own() -> None:
    decoder, latents = WanVAE(vae()), torch.randn(3, 16, 2, 2)
    first, second = decoder.stream(), decoder.stream()
    first(torch.randn(3, 16, 2, 2))
    assert np.array_equal(second(latents), decoder.stream()(latents))


def test_pixels_that_the_model_packs_are_unpacked() -> None:
    model = vae(patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16)
    latents = torch.randn(3, 16, 2, 3)
    pixels = streamed(WanVAE(model), latents, 1)
    assert WanVAE(model).scale == 16
    assert pixels.shape == (9, 32, 48, 3)
    assert np.abs(pixels.astype(int) - at_once(model, latents)).max() <= 1


def test_a_chunk_has_at_least_one_frame() -> None:
    with pytest.raises(ConfigError, match="chunk_frames"):
        WanVAE(vae(), chunk_frames=0)
