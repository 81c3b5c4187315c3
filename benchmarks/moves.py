"""The floor of the local path with what it promises: every move of bytes of a step, and nothing between."""

import mmap
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.ballast import Ballast
from benchmarks.workload import (
    BLOCK_FRAMES,
    EMBEDDING_DIM,
    FULL_FRAMES,
    GUARD,
    LATENT_BYTES,
    SINK,
    K,
    Video,
    Workload,
)
from memory_service.crc32c import crc32c
from memory_service.local.sessions import SHARED_MEMORY

_STEPS = 400
_BLOCK_BYTES = BLOCK_FRAMES * LATENT_BYTES
_REQUEST_BYTES, _ANSWER_BYTES = 17_000, 26_000
"""Of an advance over the local path: three embeddings and a query, six embeddings and places."""

Moves = dict[str, Callable[[int], object]]
"""What is done in each step, given its number."""


def measure(folder: Path, ballast: Ballast) -> str:
    """A table in Markdown: the median of each move, in the order of a step, and their sum."""
    ballast.ready("moves")
    with _moves(folder) as moves:
        seconds = np.array([_step(moves, number) for number in range(_STEPS)])
    medians = 1e3 * np.median(seconds, axis=0)
    lines = ["| move | p50 ms |", "| --- | --: |"]
    lines += [f"| {name} | {ms:.3f} |" for name, ms in zip(moves, medians, strict=True)]
    return "\n".join([*lines, f"| all of them | {1e3 * np.median(seconds.sum(axis=1)):.3f} |"])


def _step(moves: Moves, number: int) -> list[float]:
    seconds = []
    for move in moves.values():
        began = time.perf_counter()
        move(number)
        seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def _moves(folder: Path) -> Iterator[Moves]:
    workload = Workload(Video("moves", 0, 0))
    payloads = [workload.payload(frame) for frame in range(BLOCK_FRAMES)]
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((FULL_FRAMES - SINK - GUARD, EMBEDDING_DIM), dtype=np.float32)
    query = rng.standard_normal(EMBEDDING_DIM, dtype=np.float32)
    hits = rng.integers(0, FULL_FRAMES, (_STEPS, K)) * LATENT_BYTES
    out = np.zeros((K, LATENT_BYTES), np.uint8)
    block = memoryview(bytearray(_BLOCK_BYTES))
    with _file(folder / "reel") as reel, _file(SHARED_MEMORY / f"reverie-moves-{os.getpid()}") as staging:
        for start in range(0, FULL_FRAMES * LATENT_BYTES, _BLOCK_BYTES):
            os.pwritev(reel, payloads, start)
        os.posix_fallocate(reel, 0, FULL_FRAMES * LATENT_BYTES + _STEPS * _BLOCK_BYTES)
        os.truncate(staging, _BLOCK_BYTES)
        staged = np.frombuffer(mmap.mmap(staging, _BLOCK_BYTES), np.uint8)
        kept = np.frombuffer(mmap.mmap(reel, FULL_FRAMES * LATENT_BYTES, prot=mmap.PROT_READ), np.uint8)

        def stage(_step: int) -> None:
            for i, payload in enumerate(payloads):
                staged[i * LATENT_BYTES : (i + 1) * LATENT_BYTES] = np.frombuffer(payload, np.uint8)

        def found(step: int) -> list[np.ndarray]:
            return [kept[start : start + LATENT_BYTES] for start in hits[step]]

        def copy(step: int) -> None:
            for row, payload in zip(out, found(step), strict=True):
                row[:] = payload

        with _peer() as exchange:
            yield {
                "client: 600 KB into the staging file": stage,
                "both: 17 KB there and 26 KB back over a UNIX socket": exchange,
                "server: 600 KB out of the staging file, so that the client can change them no more": (
                    lambda _: os.preadv(staging, [block], 0)
                ),
                "server: their CRC-32C": lambda _: crc32c(block),
                "server: 600 KB to the end of the reel": (
                    lambda step: os.pwrite(reel, block, FULL_FRAMES * LATENT_BYTES + step * _BLOCK_BYTES)
                ),
                "server: the product of 462 x 1,024 float32 and the query": lambda _: matrix @ query,
                "client: CRC-32C of six payloads in the mapped reel": lambda step: [
                    *map(crc32c, found(step))
                ],
                "caller: 1.2 MB into its own buffer": copy,
            }


@contextmanager
def _file(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink()


@contextmanager
def _peer() -> Iterator[Callable[[int], object]]:
    """What sends a request to another process and takes the answer."""
    mine, its = socket.socketpair()
    with mine, its:
        process = multiprocessing.get_context("fork").Process(target=_answer, args=(its, mine))
        process.start()
        its.close()
        request = bytes(_REQUEST_BYTES)

        def exchange(_step: int) -> None:
            mine.sendall(request)
            mine.recv(_ANSWER_BYTES, socket.MSG_WAITALL)

        yield exchange
        mine.close()
        process.join()


def _answer(its: socket.socket, mine: socket.socket) -> None:
    mine.close()
    answer = bytes(_ANSWER_BYTES)
    while its.recv(_REQUEST_BYTES, socket.MSG_WAITALL):
        its.sendall(answer)
