"""SQLite with sqlite-vec in the generator's process: vectors in a vec0 table, payloads in a plain one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video


@dataclass(frozen=True)
class SqliteVec(Kind):
    """synchronous NORMAL or FULL."""

    modules = ("sqlite_vec", "apsw")
    packages = ("sqlite-vec", "apsw")
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        synchronous = "FULL" if self.durability is Durability.SYNC else "NORMAL"
        return _Database(Path(place) / f"{video.name}.db", synchronous)


class _Database:
    def __init__(self, path: Path, synchronous: str) -> None:
        import apsw  # many builds of Python's own sqlite3 load no extensions
        import sqlite_vec

        self._db = db = apsw.Connection(str(path))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        db.execute("PRAGMA page_size = 65536")  # a quarter faster here than the usual 4096
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(
            "CREATE VIRTUAL TABLE vectors USING vec0(frame INTEGER PRIMARY KEY, at INTEGER, "
            f"embedding FLOAT[{EMBEDDING_DIM}] distance_metric=cosine)"
        )
        db.execute("CREATE TABLE payloads (frame INTEGER PRIMARY KEY, payload BLOB)")

    def append(self, block: Block) -> None:
        db = self._db
        db.execute("BEGIN")
        for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True):
            db.execute("INSERT INTO vectors VALUES (?, ?, ?)", (frame, frame, embedding.tobytes()))
            db.execute("INSERT INTO payloads VALUES (?, ?)", (frame, payload))
        db.execute("COMMIT")

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        found = self._db.execute(
            "SELECT frame FROM vectors WHERE embedding MATCH ? AND k = ? AND at >= ? AND at < ? "
            "ORDER BY distance",
            (query.tobytes(), k, start, stop),
        )
        return [row[0] for row in found]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        marks = ", ".join("?" * len(frames))
        found = self._db.execute(f"SELECT frame, payload FROM payloads WHERE frame IN ({marks})", frames)
        for frame, payload in found:
            staging[place[frame]] = np.frombuffer(payload, np.uint8)

    def close(self) -> None:
        self._db.close()
