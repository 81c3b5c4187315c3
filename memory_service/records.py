"""What the records of a reel hold: the types of the memory as headers and bodies, and back.

n frames of a block, D embedding dimension. Offsets in a block's header count bytes from the body's start.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from sys import intern
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from memory_service.crc32c import crc32c
from memory_service.reel import Body, Extent, Record
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

_NOTHING: Mapping[str, Any] = MappingProxyType({})
"""What most blocks have of names and texts: one for the blocks of all open videos."""

PackedBlock: TypeAlias = tuple[dict[str, Any], Body]
"""Header and body of a block record."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Where the embeddings of one kind of one block lie: row after row from `offset`, counted in the reel."""

    offset: int
    row_bytes: int
    crcs: array[int]

    def row(self, number: int) -> Extent:
        """The extent of one embedding."""
        return self.offset + number * self.row_bytes, self.row_bytes, self.crcs[number]


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Where the frames `span` of one block lie in their reel, and what holds for all of them.

    `end` is where the block's record ends: the block is durable once the reel is up to there. `parts` count
    from `body`, all other offsets from the reel's start.
    """

    span: Span
    end: int
    embeddings: StoredRows
    named: Mapping[str, StoredRows]
    body: int
    parts: Mapping[str, array[int]]
    """Offset, length and CRC of each payload, one after the other: tuples would take five times as much."""
    metadata: Mapping[str, str]
    unix_ms: int

    def embedding(self, frame: int, name: str = "") -> Extent:
        """The extent of a frame's embedding, or of its named one. Raises KeyError for a name without any."""
        rows = self.named[name] if name else self.embeddings
        return rows.row(frame - self.span.start)

    def payload(self, part: str, frame: int) -> Extent:
        """The extent of one part of a frame. Raises KeyError for a part that the block lacks."""
        first = 3 * (frame - self.span.start)
        offset, length, crc = self.parts[part][first : first + 3]
        return self.body + offset, length, crc


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


def pack_block(block: Block) -> PackedBlock:
    """Header and body of a block record: embeddings, named ones, each part's payloads; every piece aligned.

    What is empty or 0 is left out of the header.
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
    if block.unix_ms:
        header["unix_ms"] = int(block.unix_ms)
    return header, body


def _add_rows(body: Body, embeddings: Embeddings) -> tuple[int, int, list[int]]:
    """Add float32 [n, D] as one piece: its offset in the body, D, and the CRC of each row."""
    rows = np.ascontiguousarray(embeddings, "<f4").view(np.uint8)
    offset, _, _ = body.add(rows.data.cast("B"))
    return offset, embeddings.shape[1], [crc32c(row.data) for row in rows]


def unpack_block(record: Record) -> StoredBlock:
    """The block that a block record holds."""
    header = record.header
    return StoredBlock(
        span=Span(header["start"], header["start"] + header["n"]),
        end=record.end,
        embeddings=StoredRows(record.body, 4 * header["dim"], array("q", header["embedding_crcs"])),
        named={
            intern(name): StoredRows(record.body + offset, 4 * dim, array("q", crcs))
            for name, (offset, dim, crcs) in header.get("named", _NOTHING).items()
        }
        or _NOTHING,
        body=record.body,
        parts={
            intern(name): array("q", chain.from_iterable(extents))
            for name, extents in header["parts"].items()
        },
        metadata=header.get("metadata", _NOTHING),
        unix_ms=header.get("unix_ms", 0),
    )


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
    extras = {
        "num_candidates": retrieval.num_candidates,
        "runner_up_frames": list(retrieval.runner_up_frames),
        "runner_up_scores": list(retrieval.runner_up_scores),
        "videos": [[key.pool, key.video] for key in retrieval.videos],
    }
    return {
        "epoch": retrieval.epoch,
        "length": retrieval.length,
        "query_frame": retrieval.query_frame,
        "eligible": [retrieval.eligible.start, retrieval.eligible.stop],
        "k": retrieval.k,
        "policy": retrieval.policy,
        "frames": list(retrieval.frames),
        "scores": list(retrieval.scores),
        "search_us": retrieval.search_us,
        "unix_ms": retrieval.unix_ms,
        **{name: value for name, value in extras.items() if value},
    }


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
