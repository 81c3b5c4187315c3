"""The research code's way: a Python list with one tensor per frame, stacked anew for every search (torch)."""

from collections.abc import Sequence

from numpy.typing import NDArray

from benchmarks.peers.base import Kind, Peer
from benchmarks.workload import Block, Vectors, Video


class ReferenceList(Kind):
    modules = packages = ("torch",)
    install = "make setup"

    def connect(self, place: str, video: Video) -> Peer:
        del place, video
        return _Tensors()


class _Tensors:
    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self._torch = torch
        self._embeddings: list = []
        self._payloads: list = []

    def append(self, block: Block) -> None:
        torch = self._torch
        for embedding, payload in zip(block.embeddings, block.payloads, strict=True):
            self._embeddings.append(torch.from_numpy(embedding).clone())
            self._payloads.append(torch.frombuffer(bytearray(payload), dtype=torch.uint8))

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        torch = self._torch
        keys = torch.stack(self._embeddings[start:stop])[None]
        keys = torch.nn.functional.normalize(keys, dim=-1)
        queries = torch.nn.functional.normalize(torch.from_numpy(query)[None, None], dim=-1)
        scores = torch.bmm(queries, keys.transpose(1, 2))
        return (torch.topk(scores[0, 0], k).indices + start).tolist()

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        target = self._torch.from_numpy(staging)
        for row, frame in enumerate(frames):
            target[row].copy_(self._payloads[frame])

    def close(self) -> None:
        pass
