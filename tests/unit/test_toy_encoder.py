import numpy as np
import pytest
import torch

from encoder import checkpoint
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS
from generator.toy.prompts import Scene
from generator.toy.world import paint


@pytest.fixture(scope="module")
def encoder():
    return checkpoint.load(WEIGHTS / "encoder.safetensors")


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
