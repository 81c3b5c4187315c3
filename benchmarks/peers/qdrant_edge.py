"""Qdrant's Rust engine in the generator's process (Qdrant edge): payload as base64 text in JSON."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video


@dataclass(frozen=True)
class QdrantEdge(Kind):
    """As it comes, or flushed after each block."""

    modules = ("qdrant_edge",)
    packages = ("qdrant-edge-py",)
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        return _Shard(Path(place) / video.name, flush=self.durability is Durability.SYNC)


class _Shard:
    def __init__(self, folder: Path, *, flush: bool) -> None:
        import qdrant_edge

        self._edge = edge = qdrant_edge
        vectors = edge.EdgeVectorParams(size=EMBEDDING_DIM, distance=edge.Distance.Cosine)
        folder.mkdir()
        self._shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors))
        self._flush = flush

    def append(self, block: Block) -> None:
        points = [
            self._edge.Point(
                frame, embedding.tolist(), {"frame": frame, "data": base64.b64encode(payload).decode()}
            )
            for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True)
        ]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))
        if self._flush:
            self._shard.flush()

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        edge = self._edge
        eligible = edge.FieldCondition(key="frame", range=edge.RangeFloat(gte=start, lt=stop))
        request = edge.SearchRequest(
            query=edge.Query.Nearest(query.tolist()),
            limit=k,
            filter=edge.Filter(must=[eligible]),
            params=edge.SearchParams(exact=True),
        )
        return [int(point.id) for point in self._shard.search(request)]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        for point in self._shard.retrieve(list(frames), True, False):
            staging[place[int(point.id)]] = np.frombuffer(base64.b64decode(point.payload["data"]), np.uint8)

    def close(self) -> None:
        self._shard.close()
