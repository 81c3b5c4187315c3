"""The memories that the contract suite judges: one entry each, all the same tests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from samples import KEY, SPEC

from memory_service.engine import MemoryEngine
from memory_service.types import Memory

Opener = Callable[[Path], AbstractContextManager[Memory]]


def engine(index: str) -> Opener:
    @contextmanager
    def opened(data_dir: Path) -> Iterator[Memory]:
        memory = MemoryEngine(data_dir, index=index, commit_interval_s=0.02)
        try:
            yield memory
        finally:
            memory.close()

    return opened


MEMORIES: dict[str, Opener] = {
    "engine-flat": engine("flat"),
    "engine-faiss-flat": engine("faiss-flat"),
}


@pytest.fixture(params=MEMORIES)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    """An empty memory with default limits."""
    with MEMORIES[request.param](tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def video(memory: Memory) -> Memory:
    """A memory with the empty video KEY."""
    memory.create_video(KEY, SPEC)
    return memory
