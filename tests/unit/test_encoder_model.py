"""Dimensions, embeddings and identity of the retrieval autoencoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from encoder.model import LatentAE, LatentAEConfig
from encoder.pooling import AvgPool, RowPool, pool_named
from encoder.untrained import UNTRAINED

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
    for encoder in (LatentAE(SMALL), AvgPool(16), RowPool(16, 8)):
        embedding = encoder.encode(latents)
        assert embedding.dtype == torch.float32
        assert embedding.shape == (5, encoder.embedding_dim)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(5))


def test_an_encoder_that_keeps_rows_tells_above_from_below() -> None:
    torch.manual_seed(0)
    model = LatentAE(replace(SMALL, keep_rows=True)).eval()
    features = torch.randn(1, 32, 2, 3)
    model.encoder.conv_stack = torch.nn.Identity()
    swapped, turned = features.flip(-2), features.flip(-1)
    assert (model.encoder(swapped) - model.encoder(features)).abs().max() > 0.01
    torch.testing.assert_close(model.encoder(turned), model.encoder(features))
    published = LatentAE(SMALL).eval()
    published.encoder.conv_stack = torch.nn.Identity()
    torch.testing.assert_close(published.encoder(swapped), published.encoder(features))
    assert model.config.feature_shape == published.config.feature_shape


def test_frames_are_embedded_one_by_one() -> None:
    model, latents = LatentAE(SMALL).eval(), torch.randn(3, 16, 8, 12)
    apart = torch.cat([model.encode(frame[None]) for frame in latents])
    torch.testing.assert_close(model.encode(latents), apart)


def test_latents_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[F, 16, 8, 12\], got \(1, 16, 12, 8\)"):
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
    assert RowPool(16, 8).encoder_id != RowPool(8, 16).encoder_id


def test_row_pool_keeps_what_lies_above_and_below_and_no_column() -> None:
    latents, rows = torch.randn(2, 16, 8, 12), RowPool(16, 8)
    torch.testing.assert_close(rows.encode(latents.roll(5, dims=-1)), rows.encode(latents))
    upside_down = rows.encode(latents.flip(-2))
    assert (upside_down - rows.encode(latents)).abs().max() > 0.01
    torch.testing.assert_close(AvgPool(16).encode(latents.flip(-2)), AvgPool(16).encode(latents))
    profile = rows.encode(latents).unflatten(-1, (16, 8)).mean(-1)
    profile = torch.nn.functional.normalize(profile, dim=-1)
    torch.testing.assert_close(profile, AvgPool(16).encode(latents))


@pytest.mark.parametrize(("pool", "expected"), [(AvgPool(16), "16, H, W"), (RowPool(16, 8), "16, 8, W")])
@pytest.mark.parametrize("shape", [(1, 8, 16, 12), (16, 8, 12)])
def test_pools_refuse_other_latents(pool: AvgPool | RowPool, expected: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\[F, {expected}\], got"):
        pool.encode(torch.zeros(shape))


@pytest.mark.parametrize("name", UNTRAINED)
def test_what_needs_no_training_fits_any_latents(name: str) -> None:
    encoder = pool_named(name, (4, 6, 10))
    assert encoder.encode(torch.randn(3, 4, 6, 10)).shape == (3, encoder.embedding_dim)
    assert encoder.encoder_id.startswith(f"{name}/")


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="expected one of avg-pool, row-pool, got 'max-pool'"):
        pool_named("max-pool", (4, 6, 10))
