"""Whether a block that is sent again is the one that was kept: the law of exactly once."""

from typing import Any

import numpy as np

from memory_service.errors import AlreadyExists
from memory_service.histories.frames import Frames, KeptBlock
from memory_service.histories.stored_frame import Payload
from memory_service.records import PackedBlock
from memory_service.types import Block, Buffer


def check_duplicate(frames: Frames, block: Block, packed: PackedBlock) -> None:
    """Raises AlreadyExists unless all frames of `block` are kept as they were sent; the first one is kept.

    `packed` is the same block. Its content is what was sent: embeddings, parts, metadata, and `unix_ms`
    unless it was left to the server. Raises DataLoss where what was kept is damaged: neither the block that
    was kept nor one that looks like the damage may pass for a difference or a duplicate.
    """
    length = frames.length
    expected = {"expected_start": str(length)}
    if block.span.stop > length:
        raise AlreadyExists(
            f"frames [{block.start}, {length}) of the block are there, the rest is not",
            field="block.start",
            expected=str(length),
            details=expected,
        )
    for row, frame in enumerate(range(block.span.start, block.span.stop)):
        kept = frames.block(frame)
        if not _same_header(kept, block) or not _same_bytes(kept, frame, block, row, packed[0]):
            raise AlreadyExists(
                f"frame {frame} is there with other bytes",
                field="block",
                expected=f"the same bytes, or a block that starts at {length}",
                details=expected,
            )


def _same_header(kept: KeptBlock, block: Block) -> bool:
    stored = kept.stored
    return (
        stored.parts == block.parts.keys()
        and stored.named == block.named.keys()
        and stored.metadata == dict(block.metadata)
        and block.unix_ms in (0, stored.unix_ms)
    )


def _same_bytes(kept: KeptBlock, frame: int, block: Block, row: int, sent: dict[str, Any]) -> bool:
    """Whether row `row` of `block`, whose header is `sent`, is what was kept as `frame`."""
    pairs: list[tuple[Payload, Buffer, int]] = [
        (kept.part(name, frame), payloads[row], sent["parts"][name][row][2])
        for name, payloads in block.parts.items()
    ]
    pairs += [
        (kept.embedding(frame, name), rows[row].tobytes(), sent["named"][name][2][row])
        for name, rows in block.named.items()
    ]
    pairs.append((kept.embedding(frame), block.embeddings[row].tobytes(), sent["embedding_crcs"][row]))
    return all(_is_kept(*pair, f"frame {frame}") for pair in pairs)


def _is_kept(payload: Payload, sent: Buffer, sent_crc: int, what: str) -> bool:
    """Whether `sent` is what was appended there; the checksums know better than the bytes."""
    if (len(payload.data), payload.crc) != (memoryview(sent).nbytes, sent_crc):
        return False
    return _equal(payload.data, sent) or _equal(payload.verified(what, "block"), sent)


def _equal(stored: memoryview, sent: Buffer) -> bool:
    """Whether the bytes are equal; numpy compares them many times faster than memoryviews do."""
    data = memoryview(sent).cast("B")
    return len(stored) == len(data) and np.array_equal(
        np.frombuffer(stored, np.uint8), np.frombuffer(data, np.uint8)
    )
