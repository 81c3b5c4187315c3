"""The rollout on a CUDA device against the same rollout on the CPU."""

from __future__ import annotations

import pytest
import torch
from tiny_rollouts import TinyRollouts

from generator.kv.host_tier import HostTier
from generator.methods import POLICIES
from memory_service.engine import MemoryEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

BLOCKS = 12


@pytest.fixture
def tiny(tmp_path):
    engine = MemoryEngine(tmp_path / "memory")
    yield TinyRollouts(engine)
    engine.close()


@pytest.mark.parametrize("method", sorted(POLICIES))
def test_cuda_gives_what_the_cpu_gives(tiny, method) -> None:
    """The same noise and weights in float32: equal selections, latents equal up to the kernels' rounding."""
    on_cpu = tiny.run(method, BLOCKS, video="cpu")
    on_cuda = tiny.variant(device="cuda").run(method, BLOCKS, video="cuda")
    for cpu, cuda in zip(on_cpu, on_cuda, strict=True):
        assert [hit.handle.frame for hit in cuda.hits] == [hit.handle.frame for hit in cpu.hits]
        assert cuda.latents.is_cuda
        torch.testing.assert_close(cuda.latents.cpu(), cpu.latents, atol=1e-3, rtol=1e-3)


def test_evicted_keys_and_values_wait_in_pinned_memory(tiny) -> None:
    host = HostTier()
    made = tiny.variant(device="cuda").run("longlive_rag", BLOCKS, host=host)
    assert len(host) > 0
    assert all(host.get(hit.handle).is_pinned() for block in made for hit in block.hits)
