"""Chroma's persistent client in the generator's process: payload as base64 text in the metadata."""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Kind, Peer
from benchmarks.workload import Block, Vectors, Video


class Chroma(Kind):
    """Its only index is HNSW; `ef_search` is set so high that small histories are searched exactly."""

    modules = packages = ("chromadb",)
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        return _Collection(Path(place), video.name)


class _Collection:
    def __init__(self, folder: Path, video: str) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(str(folder / video), settings=settings)
        index = {"hnsw": {"space": "cosine", "ef_search": 1000, "num_threads": 1}}
        self._collection = client.create_collection("frames", configuration=index, embedding_function=None)

    def append(self, block: Block) -> None:
        self._collection.add(
            ids=list(map(str, block.frames)),
            embeddings=block.embeddings,
            metadatas=[
                {"frame": frame, "data": base64.b64encode(payload).decode()}
                for frame, payload in zip(block.frames, block.payloads, strict=True)
            ],
        )

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        eligible = {"$and": [{"frame": {"$gte": start}}, {"frame": {"$lt": stop}}]}
        found = self._collection.query(
            query_embeddings=[query], n_results=k, where=eligible, include=["distances"]
        )
        return [int(name) for name in found["ids"][0]]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {str(frame): row for row, frame in enumerate(frames)}
        found = self._collection.get(ids=list(place), include=["metadatas"])
        for name, metadata in zip(found["ids"], found["metadatas"], strict=True):
            staging[place[name]] = np.frombuffer(base64.b64decode(metadata["data"]), np.uint8)

    def close(self) -> None:
        pass
