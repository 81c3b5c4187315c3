"""What the records of a reel hold: the types of the memory as headers and bodies, and back.

n frames of a block, D embedding dimension. Offsets in a block's header count bytes from the body's start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from memory_service.crc32c import crc32c
from memory_service.reel import Body, Extent, Record
from memory_service.types import Block, Retrieval, Span, VideoInfo, VideoKey, VideoSpec, VideoState

PackedBlock: TypeAlias = tuple[dict[str, Any], Body]
"""Header and body of a block record."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Where the frames `span` of one block lie in their reel; all offsets count from the reel's start.

    `end` is where the block's record ends: the block is durable once the reel is up to there.
    """

    span: Span
    body: int
    end: int
    embedding_bytes: int
    embedding_crcs: Sequence[int]
    parts: Mapping[str, Sequence[Extent]]

    def embedding(self, frame: int) -> Extent:
        """The extent of a frame's embedding."""
        row = frame - self.span.start
        return self.body + row * self.embedding_bytes, self.embedding_bytes, self.embedding_crcs[row]

    def payload(self, part: str, frame: int) -> Extent:
        """The extent of one part of a frame. Raises KeyError for a part that the block lacks."""
        offset, length, crc = self.parts[part][frame - self.span.start]
        return self.body + offset, length, crc


def pack_video(info: VideoInfo) -> dict[str, Any]:
    """Header of a video record."""
    return {
        "pool": info.key.pool,
        "video": info.key.video,
        "epoch": info.state.epoch,
        "created_unix_ms": info.created_unix_ms,
        "embedding_dim": info.spec.embedding_dim,
        "latent_dtype": info.spec.latent_dtype,
        "latent_shape": list(info.spec.latent_shape),
        "encoder_id": info.spec.encoder_id,
        "metadata": dict(info.spec.metadata),
    }


def unpack_video(record: Record) -> VideoInfo:
    """The video that a video record creates, without frames yet."""
    header = record.header
    spec = VideoSpec(
        embedding_dim=header["embedding_dim"],
        latent_dtype=header["latent_dtype"],
        latent_shape=tuple(header["latent_shape"]),
        encoder_id=header["encoder_id"],
        metadata=header["metadata"],
    )
    key = VideoKey(header["pool"], header["video"])
    return VideoInfo(key, spec, VideoState(header["epoch"], 0, 0), header["created_unix_ms"])


def pack_block(block: Block) -> PackedBlock:
    """Header and body of a block record: embeddings, then each part's payloads, each aligned."""
    body = Body()
    rows = np.ascontiguousarray(block.embeddings, "<f4").view(np.uint8)
    body.add(rows.data.cast("B"))
    header = {
        "start": block.start,
        "n": len(rows),
        "dim": block.embeddings.shape[1],
        "embedding_crcs": [crc32c(row.data) for row in rows],
        "parts": {
            name: [body.add(memoryview(payload).cast("B")) for payload in payloads]
            for name, payloads in block.parts.items()
        },
    }
    return header, body


def unpack_block(record: Record) -> StoredBlock:
    """The block that a block record holds."""
    header = record.header
    span = Span(header["start"], header["start"] + header["n"])
    return StoredBlock(
        span, record.body, record.end, 4 * header["dim"], header["embedding_crcs"], header["parts"]
    )


def pack_retrieval(retrieval: Retrieval) -> dict[str, Any]:
    """Header of a retrieval record; the video is known from the reel."""
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
    )
