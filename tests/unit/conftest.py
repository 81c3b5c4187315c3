"""A server that can be interfered with; one memory and one tiny random model for tests of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from backend import Backend, serving
from tiny_rollouts import TinyRollouts

from generator.rollout import RolledBlock
from memory_service.engine import MemoryEngine


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Backend, str]]:
    """A server whose answers can be interfered with, and its address."""
    with serving(tmp_path / "data") as (running, address):
        yield running, address


@pytest.fixture
def backend(served: tuple[Backend, str]) -> Backend:
    return served[0]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemoryEngine]:
    engine = MemoryEngine(tmp_path / "memory")
    yield engine
    engine.close()


@pytest.fixture
def tiny(memory: MemoryEngine) -> TinyRollouts:
    return TinyRollouts(memory)


@pytest.fixture
def latents_of() -> Callable[[list[RolledBlock]], torch.Tensor]:
    """All latents of a rollout, [F, C, H, W]."""
    return lambda blocks: torch.cat([block.latents for block in blocks])
