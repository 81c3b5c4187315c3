"""Qdrant's Python client in local mode (numpy, SQLite): payload as base64 text in JSON, it has no bytes."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video


@dataclass(frozen=True)
class QdrantLocal(Kind):
    """In memory, or in a folder."""

    modules = ("qdrant_client",)
    packages = ("qdrant-client",)
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        return _Collection(None if self.durability is Durability.MEM else Path(place) / video.name)


class _Collection:
    def __init__(self, folder: Path | None) -> None:
        from qdrant_client import QdrantClient, models

        self._models = models
        self._client = QdrantClient(":memory:") if folder is None else QdrantClient(path=str(folder))
        vectors = models.VectorParams(size=EMBEDDING_DIM, distance=models.Distance.COSINE)
        self._client.create_collection("frames", vectors_config=vectors)

    def append(self, block: Block) -> None:
        points = [
            self._models.PointStruct(
                id=frame,
                vector=embedding.tolist(),
                payload={"frame": frame, "data": base64.b64encode(payload).decode()},
            )
            for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True)
        ]
        self._client.upsert("frames", points, wait=True)

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        models = self._models
        eligible = models.FieldCondition(key="frame", range=models.Range(gte=start, lt=stop))
        found = self._client.query_points(
            "frames", query.tolist(), limit=k, query_filter=models.Filter(must=[eligible]), with_payload=False
        )
        return [int(point.id) for point in found.points]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        for point in self._client.retrieve("frames", list(frames), with_payload=["data"]):
            staging[place[int(point.id)]] = np.frombuffer(base64.b64decode(point.payload["data"]), np.uint8)

    def close(self) -> None:
        self._client.close()
