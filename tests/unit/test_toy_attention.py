"""Training's attention equals the rollout's: the batched sampler against generator/rollout.py."""

from contextlib import closing

import numpy as np
import pytest
import torch
from batched_rollouts import Rollouts, eligible
from diffusers import WanTransformer3DModel

from encoder.pooling import AvgPool
from generator.configs import Geometry, Sampling, Window
from generator.connect import EMBEDDED, connect
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.noise import BlockNoise
from generator.rollout import rollout
from generator.rollout_config import RolloutConfig
from generator.toy.config import ModelConfig
from generator.toy.model import build
from generator.toy.prompts import encode
from generator.wan.causal_wan import CausalWan
from memory_service.types import VideoKey

SIGMAS = (1.0, 0.6, 0.2)
BLOCKS = 11
TRACK = encode("a castle at night; pan right 3s, pan left 6s", BLOCKS)


class SameNoise:
    """The draws of `Rollouts` for one video, in its order."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def block(self, _index: int) -> BlockNoise:
        draws = torch.stack(
            [torch.randn(1, 16, 3, 8, 8, generator=self._generator)[0].transpose(0, 1) for _ in SIGMAS]
        )
        return BlockNoise(draws[0], draws[1:])


@pytest.fixture
def weights():
    model = build(ModelConfig(num_layers=3), seed=1)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    return model.state_dict()


def fresh_model(weights):
    model = WanTransformer3DModel.from_config(build(ModelConfig(num_layers=3), seed=1).config)
    model.load_state_dict(weights)
    return model.eval()


@pytest.mark.parametrize("method", ["longlive_rag", "relative", "native"])
def test_batched_rollouts_equal_the_rollout_engine(method, weights, tmp_path):
    config = RolloutConfig(
        policy=policy_named(method),
        geometry=Geometry(height=8, width=8, patch=(1, 8, 1)),
        window=Window(),
        sampling=Sampling(steps=tuple(1000 * s for s in SIGMAS), shift=1.0, warped=False),
    )
    encoder = AvgPool(16)
    with closing(connect(f"{EMBEDDED}{tmp_path}")) as memory:
        key = VideoKey("pool", "video")
        with History(memory, key, video_spec(encoder, (16, 8, 8), torch.float32)) as history:
            engine = CausalWan(fresh_model(weights))
            blocks = list(rollout(engine, config, TRACK, SameNoise(5), encoder, history))
    expected = torch.cat([block.latents for block in blocks])
    retrieved = {b.span.start: np.array([hit.handle.frame for hit in b.hits], int) for b in blocks}
    ours = Rollouts(
        fresh_model(weights),
        method,
        [TRACK],
        (lambda _, start: [retrieved[start]]) if method == "longlive_rag" else None,
        sigmas=SIGMAS,
        seed=5,
        dtype=torch.float32,
    )
    torch.testing.assert_close(ours.run()[0], expected, rtol=0, atol=2e-2)
    if method == "longlive_rag":
        assert [len(retrieved[start]) for start in (15, 18, 21, 24, 30)] == [0, 1, 4, 6, 6]
        assert all(set(frames) <= set(eligible(start)) for start, frames in retrieved.items())
