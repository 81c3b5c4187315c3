"""LanceDB in the generator's process: one table per video, exact search with a prefilter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, Block, Vectors, Video


class Lance(Kind):
    modules = packages = ("lancedb",)
    install = "make bench-peers"
    is_database = True

    def connect(self, place: str, video: Video) -> Peer:
        return _Table(Path(place), video.name)


class _Table:
    def __init__(self, folder: Path, video: str) -> None:
        import lancedb
        import pyarrow

        self._arrow = pyarrow
        self._schema = pyarrow.schema(
            [
                ("frame", pyarrow.int64()),
                ("vector", pyarrow.list_(pyarrow.float32(), EMBEDDING_DIM)),
                ("payload", pyarrow.large_binary()),
            ]
        )
        self._table = lancedb.connect(str(folder)).create_table(video, schema=self._schema)

    def append(self, block: Block) -> None:
        arrow = self._arrow
        vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(block.embeddings.ravel()), EMBEDDING_DIM)
        columns = [
            arrow.array(list(block.frames)),
            vectors,
            arrow.array(block.payloads, arrow.large_binary()),
        ]
        self._table.add(arrow.Table.from_arrays(columns, schema=self._schema))

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        search = self._table.search(query).distance_type("cosine")
        search = search.where(f"frame >= {start} AND frame < {stop}", prefilter=True)
        frames = search.limit(k).select(["frame", "_distance"]).to_arrow()["frame"]
        return [int(frame) for frame in frames.to_pylist()]

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        place = {frame: row for row, frame in enumerate(frames)}
        among = ", ".join(map(str, frames))
        found = (
            self._table.search().where(f"frame IN ({among})").select(["frame", "payload"]).limit(len(frames))
        )
        rows = found.to_arrow()
        for frame, payload in zip(rows["frame"].to_pylist(), rows["payload"], strict=True):
            staging[place[frame]] = np.frombuffer(payload.as_buffer(), np.uint8)

    def close(self) -> None:
        pass
