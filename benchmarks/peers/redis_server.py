"""Redis over a UNIX socket: payloads and embeddings as values, the matrix in the client, which searches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer, Served
from benchmarks.peers.numpy_arrays import Matrix
from benchmarks.peers.processes import running
from benchmarks.workload import Block, Video


@dataclass(frozen=True)
class Redis(Kind):
    """No persistence, or an append-only file that is synced before each answer."""

    modules = ("redis",)
    packages = ("redis", "hiredis")
    commands = ("redis-server",)
    install = "apt-get install redis-server && make bench-peers"

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Served]:
        socket = f"{folder}/redis.sock"
        server = which("redis-server")
        assert server is not None
        aof = ("yes", "always") if self.durability is Durability.SYNC else ("no", "no")
        command = [server, "--port", "0", "--unixsocket", socket, "--dir", str(folder), "--save", ""]
        command += ["--appendonly", aof[0], "--appendfsync", aof[1], "--daemonize", "no"]
        command += ["--auto-aof-rewrite-percentage", "0", "--logfile", ""]
        with running([*command], "") as (process, _):
            self._wait(socket)
            yield Served(socket, (process.pid,))

    def connect(self, place: str, video: Video) -> Peer:
        return _Client(place, video)

    @staticmethod
    def _wait(socket: str) -> None:
        import redis
        from redis.backoff import ConstantBackoff
        from redis.retry import Retry

        retry = Retry(ConstantBackoff(0.05), 200, (redis.ConnectionError, ConnectionError, FileNotFoundError))
        redis.Redis(unix_socket_path=socket, retry=retry).ping()


class _Client:
    def __init__(self, socket: str, video: Video) -> None:
        import redis

        self._redis = redis.Redis(unix_socket_path=socket)
        self._video = video.name
        self._matrix = Matrix(video)
        self.search = self._matrix.search

    def append(self, block: Block) -> None:
        values: dict[str, bytes] = {}
        for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True):
            values[f"{self._video}/embedding/{frame}"] = embedding.tobytes()
            values[f"{self._video}/payload/{frame}"] = payload
        self._redis.mset(values)
        self._matrix.add(block)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        payloads = self._redis.mget([f"{self._video}/payload/{frame}" for frame in frames])
        for row, payload in zip(staging, payloads, strict=True):
            row[:] = np.frombuffer(payload, np.uint8)

    def close(self) -> None:
        self._redis.close()
