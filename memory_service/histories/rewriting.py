"""A video rewritten as one self-contained reel: what it is now, without what was shared or truncated."""

from collections.abc import Iterable, Iterator

import numpy as np

from memory_service.histories.frames import KeptBlock
from memory_service.records import pack_block, pack_retrieval, pack_video
from memory_service.reel import Body, Kind, encode
from memory_service.types import Block, Buffer, Handle, Retrieval, VideoInfo, VideoKey


class Rewriting:
    """The records of a reel in the making, each as the buffers to write, in order.

    Every record says that all before it is durable: whoever reads the reel takes a missing or changed byte
    for damage. The last one is a commit, without which the reel is not whole.
    """

    def __init__(self, epoch: int) -> None:
        """`epoch` is the first one of the video that the reel will be."""
        self.end = 0
        self._epoch = epoch
        self._sequence = 0

    def video(
        self, info: VideoInfo, blocks: Iterable[Block], retrievals: Iterable[Retrieval]
    ) -> Iterator[list[Buffer]]:
        """All of a video; `blocks` and `retrievals` are read one by one."""
        yield self._record(Kind.VIDEO, pack_video(info))
        for block in blocks:
            yield self._record(Kind.BLOCK, *pack_block(block))
        for retrieval in retrievals:
            yield self._record(Kind.RETRIEVAL, pack_retrieval(retrieval))
        if info.sealed:
            yield self._record(Kind.SEAL, {})
        yield self._record(Kind.COMMIT, {})

    def _record(self, kind: Kind, header: dict[str, object], body: Body | None = None) -> list[Buffer]:
        prefix, buffers = encode(
            kind, header, body or Body(), sequence=self._sequence, epoch=self._epoch, durable=self.end
        )
        self._sequence += 1
        self.end += prefix.record_bytes
        return buffers


def block_again(kept: KeptBlock, key: VideoKey, field: str) -> Block:
    """What is left of a block, every byte verified. Raises DataLoss, naming `field` and the frame.

    It is copied: whoever takes it may be slow, and the file may be cut meanwhile.
    """
    start = kept.stored.start
    frames = [kept.frame(Handle(key, kept.epoch, n), ()).verified(field) for n in range(start, kept.stop)]
    first = frames[0]
    return Block(
        start=start,
        embeddings=np.stack([frame.embedding for frame in frames]),
        parts={part: [bytes(frame.parts[part]) for frame in frames] for part in first.parts},
        named={name: np.stack([frame.named[name] for frame in frames]) for name in first.named},
        metadata=first.metadata,
        unix_ms=first.unix_ms,
    )
