import numpy as np
import pytest
import torch

from encoder import checkpoint
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS
from generator.toy.prompts import Scene
from generator.toy.training.train_encoder import neighbour_loss
from generator.toy.world import paint


@pytest.fixture(scope="module")
def encoder():
    return checkpoint.load(WEIGHTS / "encoder.safetensors")


def test_neighbour_loss_prefers_embeddings_that_follow_time():
    angles = torch.linspace(0, torch.pi / 2, 20)
    following = torch.stack([angles.cos(), angles.sin()], dim=-1)
    shuffled = following[torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    assert neighbour_loss(following[None]) < neighbour_loss(shuffled[None])


@pytest.mark.parametrize("seed", range(4))
def test_the_bundled_encoder_finds_the_place_again(encoder, seed):
    """A view seen again, with other noise, is nearest to its first visit among 60 frames."""
    rng = np.random.default_rng(seed)
    panorama = paint(Scene.sample(rng), 70, rng)
    codec = ToyCodec.load(WEIGHTS / "codec.safetensors")
    pan = codec.encode(np.stack([panorama.view(cell, cell % 2) for cell in range(60)]))
    torch.manual_seed(seed)
    document, query = (encoder.encode(pan + 0.1 * torch.randn_like(pan)) for _ in range(2))
    found = (query @ document.T).argmax(dim=1)
    near = (found - torch.arange(60)).abs() <= 1
    assert near.float().mean() > 0.85
