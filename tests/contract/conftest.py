"""The memories that the contract suite judges: one entry each, all the same tests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from rich_videos import LENGTH, fill
from samples import KEY, SPEC

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.memory import Memory
from memory_service.server import Server

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


def client(address: str, *, local: bool = False) -> Opener:
    """A client of a server that listens at `address`; "unix:" is a socket beside the data.

    With `local`, payloads go through files.
    """

    @contextmanager
    def opened(data_dir: Path) -> Iterator[Memory]:
        where = f"unix:{data_dir.parent / 'socket'}" if address == "unix:" else address
        config = ServiceConfig(data_dir=data_dir, address=where, commit_interval_s=0.02, local_path=local)
        server = Server(config)
        server.start()
        try:
            with MemoryClient(server.address) as memory:
                yield memory
        finally:
            server.stop()

    return opened


MEMORIES: dict[str, Opener] = {
    "engine-flat": engine("flat"),
    "engine-faiss-flat": engine("faiss-flat"),
    "client-tcp": client("127.0.0.1:0"),
    "client-unix": client("unix:"),
    "client-local": client("unix:", local=True),
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


@pytest.fixture
def rich(memory: Memory) -> Memory:
    """A memory with LENGTH frames in KEY that carry more than an embedding."""
    fill(memory, KEY, LENGTH)
    return memory
