"""The memory of this repository: embedded, inline over gRPC, and by the local path."""

import mmap
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer, Served
from benchmarks.peers.processes import python, running
from benchmarks.workload import EMBEDDING_DIM, LATENT_SHAPE, SMALL_BYTES, Step, Vectors, Video
from benchmarks.workload import Block as Frames
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.memory import Memory
from memory_service.types import LATENT, Block, Buffer, Handle, Query, Span, VideoKey, VideoSpec

OPENING_S = 300.0
"""Deadline of a client: loading and opening long histories is not what is measured."""

CACHE_BYTES = 64 << 20
"""What a client keeps of fetched payloads, where it may: 336 frames."""

POOL = "bench"

_WHOLE = "whole"
"""Part that carries whole latents where the history has small ones: the size of `latent` is fixed."""


@dataclass(frozen=True)
class Engine(Kind):
    """Embedded: the generator's own process writes the reels."""

    def connect(self, place: str, video: Video) -> Peer:
        return MemoryPeer(MemoryEngine(Path(place) / video.name), video, sync=self._sync, mapped=True)

    @property
    def _sync(self) -> bool:
        return self.durability is Durability.SYNC


@dataclass(frozen=True)
class Service(Engine):
    """A server in its own process and one client per generator.

    `cache` lets the client keep payloads that it has fetched; `local` is the path by mapped files.
    """

    transport: Literal["unix", "tcp"] = "unix"
    cache: bool = False
    local: bool = False

    packages: ClassVar[tuple[str, ...]] = ("grpcio",)

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Served]:
        address = f"unix:{folder}/memory.sock" if self.transport == "unix" else "127.0.0.1:0"
        with server(folder / "data", address, *["--local-path"][: self.local]) as served:
            yield served

    def connect(self, place: str, video: Video) -> Peer:
        cache_bytes = CACHE_BYTES if self.cache else 0
        client = MemoryClient(place, timeout_s=OPENING_S, cache_bytes=cache_bytes, local=self.local)
        return MemoryPeer(client, video, sync=self._sync, mapped=self.local)


class MemoryPeer:
    """A video of any `Memory`. Implements `Fused` with Advance.

    `mapped` is whether payloads must come as views of mapped files: a client that fell back to messages
    without a word would be measured as what it is not.
    """

    def __init__(self, memory: Memory, video: Video, *, sync: bool, mapped: bool) -> None:
        self._memory, self._sync, self._mapped = memory, sync, mapped
        self._key = VideoKey(POOL, video.name)
        self._part = _WHOLE if video.small_history else LATENT
        shape = (SMALL_BYTES // 2,) if video.small_history else LATENT_SHAPE
        spec = VideoSpec(EMBEDDING_DIM, "bfloat16", shape, "benchmark/random-unit-vectors")
        memory.create_video(self._key, spec)
        self._handles: dict[int, Handle] = {}

    def append(self, block: Frames) -> None:
        self._memory.append(self._key, self._block(block), sync=self._sync)

    def search(self, query: Vectors, k: int, start: int, stop: int) -> Sequence[int]:
        found = self._memory.search(self._key, [Query(k, Span(start, stop), query)])
        self._handles = {hit.handle.frame: hit.handle for hit in found.hits[0]}
        return tuple(self._handles)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        self._stage(self._memory.fetch([self._handles[f] for f in frames], [self._part]), staging)

    def step(self, step: Step, staging: NDArray) -> Sequence[int]:
        query = Query(len(step.expected), Span(step.start, step.stop), step.query)
        advanced = self._memory.advance(self._key, self._block(step.block), query, sync=self._sync)
        self._stage(advanced.frames, staging)
        return [hit.handle.frame for hit in advanced.hits]

    def close(self) -> None:
        self._memory.close()

    def _block(self, block: Frames) -> Block:
        parts: Mapping[str, Sequence[Buffer]] = {LATENT: block.payloads}
        if self._part == _WHOLE and len(block.payloads[0]) > SMALL_BYTES:
            parts = {LATENT: [p[:SMALL_BYTES] for p in block.payloads], _WHOLE: block.payloads}
        return Block(block.start, block.embeddings, parts)

    def _stage(self, frames: Sequence[Any], staging: NDArray) -> None:
        for row, frame in zip(staging, frames, strict=True):
            part = frame.parts[self._part]
            row[:] = np.frombuffer(part, np.uint8)
        if isinstance(memoryview(part).obj, mmap.mmap) != self._mapped:
            raise RuntimeError(f"payloads came {'in messages' if self._mapped else 'as views of files'}")


@contextmanager
def server(data: Path, address: str, *options: str) -> Iterator[Served]:
    """A memory service on `data`, in a process of its own."""
    command = python("memory_service", "--log-level", "WARNING", "serve")
    command += ["--data", str(data), "--address", address, *options]
    with running(command, "serving ") as (process, line):
        fields = dict(field.split("=", 1) for field in shlex.split(line) if "=" in field)
        yield Served(fields["address"], (process.pid,))
