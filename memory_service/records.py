"""What the records of a reel hold: the types of the memory as headers and bodies, and back.

n frames of a block, D embedding dimension. Offsets in a block's header count bytes from the body's start.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from memory_service.crc32c import crc32c_rows
from memory_service.reel import Body, Record
from memory_service.stored_block import NO_TEXTS, StoredBlock, layout_of
from memory_service.types import (
    Block,
    Embeddings,
    Parent,
    Retrieval,
    Span,
    VideoInfo,
    VideoKey,
    VideoSpec,
    VideoState,
)

PackedBlock: TypeAlias = tuple[dict[str, Any], Body]
"""Header and body of a block record."""


@dataclass(frozen=True, slots=True)
class Base:
    """The beginning of another reel, whose records up to byte `end` belong to a fork.

    `epoch` is that of the reel's prefixes; the fork has `length` frames when it has read so far.
    """

    epoch: int
    end: int
    length: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a fork record says: where the fork comes from, and the reels that it continues, oldest first."""

    parent: Parent
    bases: tuple[Base, ...]


def pack_video(info: VideoInfo) -> dict[str, Any]:
    """Header of a video record."""
    spec = info.spec
    header: dict[str, Any] = {
        "pool": info.key.pool,
        "video": info.key.video,
        "epoch": info.state.epoch,
        "created_unix_ms": info.created_unix_ms,
        "embedding_dim": spec.embedding_dim,
        "latent_dtype": spec.latent_dtype,
        "latent_shape": list(spec.latent_shape),
        "encoder_id": spec.encoder_id,
        "metadata": dict(spec.metadata),
    }
    if spec.named_dims:
        header["named_dims"] = dict(spec.named_dims)
    return header


def unpack_video(record: Record) -> VideoInfo:
    """The video that a video record creates, without frames yet."""
    header = record.header
    spec = VideoSpec(
        embedding_dim=header["embedding_dim"],
        latent_dtype=header["latent_dtype"],
        latent_shape=tuple(header["latent_shape"]),
        encoder_id=header["encoder_id"],
        metadata=header["metadata"],
        named_dims=header.get("named_dims", {}),
    )
    key = VideoKey(header["pool"], header["video"])
    return VideoInfo(key, spec, VideoState(header["epoch"], 0, 0), header["created_unix_ms"])


def pack_block(block: Block, unix_ms: int = 0) -> PackedBlock:
    """Header and body of a block record: embeddings, named ones, each part's payloads; every piece aligned.

    What is empty or 0 is left out of the header. `unix_ms` holds for a block that has no time of its own.
    """
    body = Body()
    _, dim, crcs = _add_rows(body, block.embeddings)
    header: dict[str, Any] = {"start": block.start, "n": len(crcs), "dim": dim, "embedding_crcs": crcs}
    if block.named:
        header["named"] = {name: _add_rows(body, block.named[name]) for name in sorted(block.named)}
    header["parts"] = {
        name: [body.add(memoryview(payload).cast("B")) for payload in payloads]
        for name, payloads in block.parts.items()
    }
    if block.metadata:
        header["metadata"] = dict(block.metadata)
    if block.unix_ms or unix_ms:
        header["unix_ms"] = int(block.unix_ms or unix_ms)
    return header, body


def _add_rows(body: Body, embeddings: Embeddings) -> tuple[int, int, list[int]]:
    """Add float32 [n, D] as one piece: its offset in the body, D, and the CRC of each row."""
    rows = np.ascontiguousarray(embeddings, "<f4").view(np.uint8)
    offset, _, _ = body.add(rows.reshape(-1).data)
    return offset, embeddings.shape[1], crc32c_rows(rows)


def unpack_block(record: Record) -> StoredBlock:
    """The block that a block record holds. Raises TypeError, ValueError for a header that is none."""
    header = record.header
    start, n, parts = header["start"], header["n"], header["parts"]
    named = tuple([(name, *rows) for name, rows in header["named"].items()]) if "named" in header else ()
    numbers = array("q", header["embedding_crcs"])
    lengths = [len(numbers)]
    for _, _, _, crcs in named:
        numbers.extend(crcs)
        lengths.append(len(crcs))
    for extents in parts.values():
        numbers.extend(chain.from_iterable(extents))
        lengths.append(len(extents))
    layout = layout_of(n, header["dim"], tuple([rows[:3] for rows in named]), tuple(parts))
    if lengths.count(n) != len(lengths) or len(numbers) != layout.num_numbers:
        raise ValueError(f"a block of {n} frames has not {n} of everything")
    metadata, unix_ms = header.get("metadata", NO_TEXTS), header.get("unix_ms", 0)
    return StoredBlock(start, start + n, record.body, record.end, layout, numbers, metadata, unix_ms)


def pack_fork(lineage: Lineage) -> dict[str, Any]:
    """Header of a fork record."""
    parent = lineage.parent
    return {
        "pool": parent.key.pool,
        "video": parent.key.video,
        "epoch": parent.epoch,
        "length": parent.length,
        "bases": [[base.epoch, base.end, base.length] for base in lineage.bases],
    }


def unpack_fork(record: Record) -> Lineage:
    """The lineage that a fork record states."""
    header = record.header
    parent = Parent(VideoKey(header["pool"], header["video"]), header["epoch"], header["length"])
    return Lineage(parent, tuple(Base(*base) for base in header["bases"]))


def pack_truncation(epoch: int, length: int) -> dict[str, Any]:
    """Header of a truncate record: `length` frames stay, and `epoch` begins."""
    return {"epoch": epoch, "length": length}


def pack_retrieval(retrieval: Retrieval) -> dict[str, Any]:
    """Header of a retrieval record; the video is known from the reel. What is empty is left out."""
    header: dict[str, Any] = {
        "epoch": retrieval.epoch,
        "length": retrieval.length,
        "query_frame": retrieval.query_frame,
        "eligible": [retrieval.eligible.start, retrieval.eligible.stop],
        "k": retrieval.k,
        "policy": retrieval.policy,
        "frames": retrieval.frames,
        "scores": retrieval.scores,
        "search_us": retrieval.search_us,
        "unix_ms": retrieval.unix_ms,
    }
    if retrieval.num_candidates:
        header["num_candidates"] = retrieval.num_candidates
    if retrieval.runner_up_frames:
        header["runner_up_frames"] = retrieval.runner_up_frames
    if retrieval.runner_up_scores:
        header["runner_up_scores"] = retrieval.runner_up_scores
    if retrieval.videos:
        header["videos"] = [[key.pool, key.video] for key in retrieval.videos]
    return header


def unpack_retrieval(key: VideoKey, record: Record) -> Retrieval:
    """The retrieval that a retrieval record logs."""
    header = record.header
    return Retrieval(
        key=key,
        epoch=header["epoch"],
        length=header["length"],
        query_frame=header["query_frame"],
        eligible=Span(*header["eligible"]),
        k=header["k"],
        policy=header["policy"],
        frames=tuple(header["frames"]),
        scores=tuple(header["scores"]),
        search_us=header["search_us"],
        unix_ms=header["unix_ms"],
        num_candidates=header.get("num_candidates", 0),
        runner_up_frames=tuple(header.get("runner_up_frames", ())),
        runner_up_scores=tuple(header.get("runner_up_scores", ())),
        videos=tuple(VideoKey(*key) for key in header.get("videos", ())),
    )
