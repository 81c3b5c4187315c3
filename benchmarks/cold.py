"""Many videos that nobody uses: what a server takes to start on them, and what a first use costs."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.meter import anonymous_bytes, resident_bytes
from benchmarks.peers.ours import OPENING_S, server
from benchmarks.rows import Cold
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.reel import Body, Kind, decode_prefix, decode_record, encode
from memory_service.types import LATENT, Block, Query, Span, VideoKey, VideoSpec

POOL = "cold"
SHORT, LONG = 8, 480
DIM = 64
SPEC = VideoSpec(DIM, "bfloat16", (4, 8, 8), "benchmark/random-unit-vectors")

OPENED = {SHORT: 200, LONG: 20}
"""Videos that are asked for, drawn at random."""


def measure(folder: Path, num_short: int, num_long: int) -> Cold:
    """Write the videos, start a server on them, watch it, then ask for some."""
    data = folder / "cold"
    began = time.perf_counter()
    counts = {SHORT: num_short, LONG: num_long}
    for frames, count in counts.items():
        _write(data, frames, count)
    os.sync()
    written_s = time.perf_counter() - began
    print(f"  {num_short + num_long:,} videos written in {written_s:.1f} s", flush=True)
    began = time.perf_counter()
    with server(data, f"unix:{folder}/cold.sock") as served:
        start_s = time.perf_counter() - began
        (pid,) = served.pids
        before = resident_bytes(pid), anonymous_bytes([pid])
        with closing(MemoryClient(served.place, timeout_s=OPENING_S)) as client:
            first_use_s = {frames: _use(client, frames, counts[frames]) for frames in counts}
        return Cold(num_short + num_long, written_s, start_s, *before, first_use_s, resident_bytes(pid))


def _write(data: Path, frames: int, count: int) -> None:
    """`count` reels of `frames` frames: one by the engine, the others with its bytes under their own names.

    Only the first record names the video; a name of equal length leaves every offset as it is.
    """
    with closing(MemoryEngine(data)) as engine:
        engine.create_video(_key(frames, 0), SPEC)
        for start in range(0, frames, 4):
            latents = [_latent(frame) for frame in range(start, start + 4)]
            block = Block(start, _embeddings(frames)[start : start + 4], {LATENT: latents})
            engine.append(_key(frames, 0), block, sync=True)
    pool = data / POOL
    bytes_of_first = (pool / f"{_key(frames, 0).video}.reel").read_bytes()
    for video, head in _heads(bytes_of_first, frames, count):
        with (pool / f"{video}.reel").open("xb", buffering=0) as file:
            file.write(head + bytes_of_first[len(head) :])


def _heads(reel: bytes, frames: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Name and video record of every further copy."""
    prefix = decode_prefix(reel, 0)
    assert prefix is not None
    header = decode_record(reel, 0, prefix).header
    for number in range(1, count):
        video = _key(frames, number).video
        renamed = {**header, "video": video}
        _, buffers = encode(Kind.VIDEO, renamed, Body(), sequence=0, epoch=prefix.epoch, durable=0)
        head = b"".join(buffers)
        if len(head) != prefix.record_bytes:
            raise RuntimeError("the name has changed the size of the video record")
        yield video, head


def _use(client: MemoryClient, frames: int, count: int) -> list[float]:
    """Seconds of the first search of videos drawn at random; hits and a payload are checked."""
    seconds = []
    embeddings = _embeddings(frames)
    for number in random.Random(frames).sample(range(count), min(OPENED[frames], count)):
        frame = number % frames
        query = Query(1, Span(0, frames), embeddings[frame])
        began = time.perf_counter()
        found = client.search(_key(frames, number), [query], log=False)
        seconds.append(time.perf_counter() - began)
        handle = found.hits[0][0].handle
        (fetched,) = client.fetch([handle])
        if (
            found.state.length != frames
            or handle.frame != frame
            or bytes(fetched.parts[LATENT]) != _latent(frame)
        ):
            raise RuntimeError(f"video {number} of {frames} frames answered with {handle}")
    return seconds


def _key(frames: int, number: int) -> VideoKey:
    return VideoKey(POOL, f"video-{frames:03}-{number:06}")


def _embeddings(frames: int) -> np.ndarray:
    rows = np.random.default_rng(frames).standard_normal((frames, DIM), dtype=np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _latent(frame: int) -> bytes:
    return frame.to_bytes(8, "little") * (SPEC.latent_bytes // 8)
