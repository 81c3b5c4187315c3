"""A plain gRPC service written by hand: three RPCs, protobuf bytes inline, everything in the server's memory.

Also the empty RPC, which is what any unary call over gRPC costs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.inline_server import EMPTY, UNLIMITED, compiled
from benchmarks.peers.base import Kind, Peer, Served
from benchmarks.peers.processes import python, running
from benchmarks.workload import Block, Step, Vectors, Video


@dataclass(frozen=True)
class InlineGrpc(Kind):
    unix: bool = True

    modules = ("grpc_tools",)
    packages = ("grpcio", "protobuf")
    install = "make setup-dev"

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Served]:
        address = f"unix:{folder}/inline.sock" if self.unix else "127.0.0.1:0"
        with running(python("benchmarks.inline_server", address), "serving ") as (process, line):
            yield Served(line.split()[1], (process.pid,))

    def connect(self, place: str, video: Video) -> Peer:
        return _Client(place, video.name)


@dataclass(frozen=True)
class EmptyRpc(InlineGrpc):
    def connect(self, place: str, video: Video) -> Peer:
        del video
        return _EmptyClient(place)


class _Client:
    def __init__(self, address: str, video: str) -> None:
        self._messages, stubs = compiled()
        self._channel = grpc.insecure_channel(address, options=UNLIMITED)
        self._stub = stubs.InlineStub(self._channel)
        self._video = video

    def append(self, block: Block) -> None:
        embeddings = block.embeddings.tobytes()
        self._stub.Append(
            self._messages.AppendRequest(
                video=self._video, start=block.start, embeddings=embeddings, payloads=block.payloads
            )
        )

    def search(self, query: Vectors, k: int, start: int, stop: int) -> Sequence[int]:
        request = self._messages.SearchRequest(
            video=self._video, query=query.tobytes(), k=k, start=start, stop=stop
        )
        return list(self._stub.Search(request).frames)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        answer = self._stub.Fetch(self._messages.FetchRequest(video=self._video, frames=frames))
        for row, payload in zip(staging, answer.payloads, strict=True):
            row[:] = np.frombuffer(payload, np.uint8)

    def close(self) -> None:
        self._channel.close()


class _EmptyClient:
    """Implements `Fused`: a step is one call with nothing in it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=UNLIMITED)
        self._call = self._channel.unary_unary(EMPTY)

    def step(self, step: Step, staging: NDArray) -> None:
        del step, staging
        self._call(b"")

    def append(self, block: Block) -> None:
        del block

    def search(self, query: Vectors, k: int, start: int, stop: int) -> Sequence[int]:
        raise NotImplementedError("an empty RPC keeps nothing")

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        raise NotImplementedError("an empty RPC keeps nothing")

    def close(self) -> None:
        self._channel.close()
