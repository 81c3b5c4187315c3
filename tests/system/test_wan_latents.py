"""Real latents of Wan 2.1 through a retrieval encoder and a memory service of its own process, and back.

tests/fixtures/media/wan21_latents.safetensors: 16 normalised latent frames of 320 x 512 pixels in bfloat16,
which the file's metadata say the source and licence of.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from serving import ServerProcess
from torch import Tensor

from encoder.model import Encoder, LatentAE, LatentAEConfig
from encoder.pooling import AvgPool
from generator.history.history import latents_of, payloads, video_spec
from memory_service.client import MemoryClient
from memory_service.types import LATENT, Block, Query, Span, VideoKey

FILE = Path(__file__).parents[1] / "fixtures" / "media" / "wan21_latents.safetensors"
KEY = VideoKey("media", "wan")
BLOCK_FRAMES = 3


@pytest.fixture(scope="module")
def latents() -> Tensor:
    """[F, C, H, W]."""
    return load_file(FILE)["latents"][0].transpose(0, 1).contiguous()


def published_encoder() -> Encoder:
    """The published dimensions, which 0.43 GMAC a frame follow from, with random weights."""
    torch.manual_seed(0)
    return LatentAE(LatentAEConfig(height=40, width=64)).eval()


@pytest.mark.parametrize("make_encoder", [lambda: AvgPool(16), published_encoder], ids=["avg_pool", "ae"])
def test_real_latents_are_found_and_come_back(latents: Tensor, tmp_path: Path, make_encoder) -> None:
    encoder = make_encoder()
    embeddings = encoder.encode(latents)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(len(latents)))
    similarities = embeddings.double() @ embeddings.double().T
    spec = video_spec(encoder, tuple(latents.shape[1:]), latents.dtype)
    blocks = [
        Block(start, embeddings[start:stop].numpy(), {LATENT: payloads(latents[start:stop], spec)})
        for start in range(0, len(latents), BLOCK_FRAMES)
        for stop in [min(start + BLOCK_FRAMES, len(latents))]
    ]
    with ServerProcess(tmp_path / "data") as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, spec)
        assert [answer.state.length for answer in memory.append_stream(KEY, blocks)] == [3, 6, 9, 12, 15, 16]
        whole = Span(0, len(latents))
        found = memory.search(KEY, [Query(len(latents), whole, frame=f) for f in range(len(latents))])
        for frame, hits in enumerate(found.hits):
            scores = {hit.handle.frame: hit.score for hit in hits}
            assert hits[0].handle.frame == frame, "a frame is nearest to itself"
            expected = similarities[frame].numpy()
            np.testing.assert_allclose([scores[f] for f in range(len(latents))], expected, atol=1e-6)
        best = [hit.handle for hit in found.hits[9]]
        fetched = memory.fetch(best)
    back = latents_of([frame.parts[LATENT] for frame in fetched], spec)
    assert torch.equal(back, latents[[handle.frame for handle in best]])
