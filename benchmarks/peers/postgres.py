"""PostgreSQL with pgvector over a UNIX socket: one table per video, exact scan, payloads as bytea."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer, Served
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video


@dataclass(frozen=True)
class Postgres(Kind):
    """synchronous_commit on or off."""

    modules = ("psycopg", "pgserver", "pgvector")
    packages = ("psycopg", "pgserver", "pgvector")
    install = "make bench-peers"
    is_database = True

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Served]:
        import pgserver

        server = pgserver.get_server(folder / "postgres", cleanup_mode="delete")
        try:
            server.psql("CREATE EXTENSION vector")
            commit = "on" if self.durability is Durability.SYNC else "off"
            server.psql(f"ALTER SYSTEM SET synchronous_commit = {commit}")
            server.psql("SELECT pg_reload_conf()")
            yield Served(server.get_uri(), (server.get_pid(),))
        finally:
            server.cleanup()

    def connect(self, place: str, video: Video) -> Peer:
        return _Client(place, video.name)


class _Client:
    def __init__(self, uri: str, video: str) -> None:
        import psycopg
        from pgvector.psycopg import register_vector

        self._connection = psycopg.connect(uri, autocommit=True)
        register_vector(self._connection)
        self._table = f"video_{video.replace('-', '_')}"
        self._connection.execute(
            f"CREATE TABLE {self._table} (frame bigint PRIMARY KEY, "
            f"embedding vector({EMBEDDING_DIM}) STORAGE PLAIN, payload bytea STORAGE EXTERNAL)"
        )

    def append(self, block: Block) -> None:
        values = [
            value for row in zip(block.frames, block.embeddings, block.payloads, strict=True) for value in row
        ]
        rows = ", ".join(["(%b, %b, %b)"] * len(block.payloads))
        self._connection.execute(f"INSERT INTO {self._table} VALUES {rows}", values)

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        found = self._connection.execute(
            f"SELECT frame FROM {self._table} WHERE frame >= %b AND frame < %b "
            "ORDER BY embedding <=> %b LIMIT %b",
            (start, stop, query, k),
            binary=True,
        )
        return [row[0] for row in found]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        found = self._connection.execute(
            f"SELECT frame, payload FROM {self._table} WHERE frame = ANY(%b)", (list(frames),), binary=True
        )
        for frame, payload in found:
            staging[place[frame]] = np.frombuffer(payload, np.uint8)

    def close(self) -> None:
        self._connection.close()
