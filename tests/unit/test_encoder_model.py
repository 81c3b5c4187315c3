"""Dimensions, embeddings and identity of the retrieval autoencoder."""

from __future__ import annotations

import pytest
import torch

from encoder.model import AvgPool, LatentAE, LatentAEConfig

SMALL = LatentAEConfig(height=8, width=12, embedding_dim=32, hidden_dims=(16, 32))


def test_published_dimensions() -> None:
    config = LatentAEConfig()
    assert config.feature_shape == (256, 8, 13)
    with torch.device("meta"):
        model = LatentAE(config)
    assert round(sum(p.numel() for p in model.encoder.parameters()) / 1e6, 2) == 2.19
    assert round(sum(p.numel() for p in model.decoder.parameters()) / 1e6) == 28


@pytest.mark.parametrize(("height", "width"), [(8, 12), (15, 26), (60, 104), (5, 7)])
def test_any_geometry_comes_back(height: int, width: int) -> None:
    config = LatentAEConfig(height=height, width=width, embedding_dim=8, hidden_dims=(8, 16, 24))
    recon, embedding = LatentAE(config)(torch.randn(2, 16, height, width))
    assert recon.shape == (2, 16, height, width)
    assert embedding.shape == (2, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_are_float32_of_unit_norm(dtype: torch.dtype) -> None:
    latents = torch.randn(5, 16, 8, 12).to(dtype)
    for encoder in (LatentAE(SMALL), AvgPool(16)):
        embedding = encoder.encode(latents)
        assert embedding.dtype == torch.float32
        assert embedding.shape == (5, encoder.embedding_dim)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(5))


def test_frames_are_embedded_one_by_one() -> None:
    model, latents = LatentAE(SMALL).eval(), torch.randn(3, 16, 8, 12)
    apart = torch.cat([model.encode(frame[None]) for frame in latents])
    torch.testing.assert_close(model.encode(latents), apart)


def test_latents_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 8, 12\)"):
        LatentAE(SMALL).encode(torch.zeros(1, 16, 12, 8))


def test_encoder_id_follows_the_encoder_weights_alone() -> None:
    model = LatentAE(SMALL)
    before = model.encoder_id
    assert before.startswith("latent-ae/sha256:")
    assert model.encoder_id == before
    with torch.no_grad():
        model.decoder.fc[0].bias += 1
        assert model.encoder_id == before
        model.encoder.fc.bias[0] += 1e-3
    assert model.encoder_id != before
    assert AvgPool(16).encoder_id != AvgPool(8).encoder_id
