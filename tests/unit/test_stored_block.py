"""Where a block's frames lie, as its record says, and headers that say something else."""

from typing import Any

import numpy as np
import pytest

from memory_service.crc32c import crc32c
from memory_service.records import pack_block, unpack_block
from memory_service.reel import Body, Kind, Record, encode
from memory_service.stored_block import StoredBlock
from memory_service.types import Block, Span

OFFSET = 640


def block(start: int, n: int = 3) -> Block:
    rng = np.random.default_rng(start)
    return Block(
        start,
        rng.standard_normal((n, 16), np.float32),
        {"latent": [rng.bytes(100) for _ in range(n)], "preview": [rng.bytes(i) for i in range(n)]},
        {"text": rng.standard_normal((n, 5), np.float32), "pose": rng.standard_normal((n, 3), np.float32)},
    )


def stored(header: dict[str, Any], body: Body) -> tuple[StoredBlock, bytes]:
    """The block, and a reel in which its record begins at byte `OFFSET`."""
    prefix, buffers = encode(Kind.BLOCK, header, body, sequence=1, epoch=1, durable=0)
    return unpack_block(Record(OFFSET, prefix, header)), bytes(OFFSET) + b"".join(buffers)


def test_every_piece_is_where_the_table_says() -> None:
    sent = block(6)
    kept, reel = stored(*pack_block(sent))
    assert (kept.span, kept.end) == (Span(6, 9), len(reel))
    assert (kept.parts, kept.named) == ({"latent", "preview"}, {"pose", "text"})
    pieces = [(kept.embedding(6 + row), sent.embeddings[row].tobytes()) for row in range(3)]
    for row in range(3):
        pieces += [(kept.embedding(6 + row, name), sent.named[name][row].tobytes()) for name in sent.named]
        pieces += [(kept.payload(part, 6 + row), bytes(sent.parts[part][row])) for part in sent.parts]
    for (offset, length, crc), data in pieces:
        assert (reel[offset : offset + length], crc) == (data, crc32c(data))


def test_blocks_that_are_alike_share_what_they_have_in_common() -> None:
    one, _ = stored(*pack_block(block(0)))
    two, _ = stored(*pack_block(block(3)))
    other, _ = stored(*pack_block(block(6, n=2)))
    assert one.layout is two.layout
    assert one.layout is not other.layout
    assert one.metadata is two.metadata


@pytest.mark.parametrize("missing", ["embedding_crcs", "named", "parts"])
def test_a_header_that_lacks_a_number_is_refused(missing: str) -> None:
    header, body = pack_block(block(0))
    lists = {
        "embedding_crcs": header["embedding_crcs"],
        "named": header["named"]["text"][2],
        "parts": header["parts"]["latent"],
    }
    lists[missing].pop()
    with pytest.raises(ValueError, match="a block of 3 frames"):
        stored(header, body)


@pytest.mark.parametrize(("place", "value"), [("n", 3.0), ("dim", 16.0), ("named", 5.0)])
def test_a_number_that_is_not_whole_takes_no_other_place(place: str, value: float) -> None:
    """3.0 equals 3: what is shared by all blocks must not come from one that is not sound."""
    header, body = pack_block(block(0))
    stored(header, body)
    if place == "named":
        offset, _, crcs = header["named"]["text"]
        header["named"]["text"] = (offset, value, crcs)
    else:
        header[place] = value
    with pytest.raises(TypeError):
        stored(header, body)
