"""Milvus lite, the single-machine server of pymilvus: FLAT index, payload as base64 text in five fields.

It has no binary field, and text fields end at 65,535 bytes.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video

_TEXT_BYTES = 65_532
_FIELDS = [f"payload_{i}" for i in range(5)]


class MilvusLite(Kind):
    modules = ("pymilvus", "milvus_lite")
    packages = ("pymilvus", "milvus-lite")
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        return _Collection(Path(place) / f"{video.name}.db")


class _Collection:
    def __init__(self, path: Path) -> None:
        from pymilvus import DataType, MilvusClient

        self._client = MilvusClient(uri=str(path))
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("frame", DataType.INT64, is_primary=True)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=EMBEDDING_DIM)
        for name in _FIELDS:
            schema.add_field(name, DataType.VARCHAR, max_length=65_535)
        index = self._client.prepare_index_params()
        index.add_index("embedding", index_type="FLAT", metric_type="COSINE")
        self._client.create_collection(
            "frames", schema=schema, index_params=index, consistency_level="Strong"
        )

    def append(self, block: Block) -> None:
        rows = []
        for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True):
            text = base64.b64encode(payload).decode()
            parts = {name: text[i * _TEXT_BYTES : (i + 1) * _TEXT_BYTES] for i, name in enumerate(_FIELDS)}
            rows.append({"frame": frame, "embedding": embedding, **parts})
        self._client.insert("frames", rows)

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        found = self._client.search(
            "frames",
            [query],
            filter=f"frame >= {start} and frame < {stop}",
            limit=k,
            search_params={"metric_type": "COSINE"},
        )
        return [int(hit["frame"]) for hit in found[0]]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        for row in self._client.get("frames", ids=list(frames), output_fields=["frame", *_FIELDS]):
            payload = base64.b64decode("".join(row[name] for name in _FIELDS))
            staging[place[row["frame"]]] = np.frombuffer(payload, np.uint8)

    def close(self) -> None:
        self._client.close()
