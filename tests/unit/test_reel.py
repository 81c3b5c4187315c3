"""The framing of records: what is written is read back, and no flipped bit goes unseen."""

import struct

import google_crc32c
import pytest

from memory_service.reel import (
    ALIGN,
    FORMAT_VERSION,
    OPTIONAL,
    PREFIX_BYTES,
    Body,
    Damaged,
    Kind,
    Prefix,
    Record,
    Unsupported,
    check_body,
    decode_prefix,
    decode_record,
    encode,
    find_prefix,
)

HEADER = {"start": 7, "text": "harbour", "list": [1, None, 0.5]}


def record_bytes(sequence: int = 3, *, epoch: int = 12345, payload: bytes = b"abc" * 50) -> bytes:
    body = Body()
    body.add(b"embedding")
    body.add(payload)
    _, buffers = encode(Kind.BLOCK, HEADER, body, sequence=sequence, epoch=epoch, durable=640)
    return b"".join(buffers)


def read(data: bytes, offset: int = 0) -> Record:
    view = memoryview(data)
    prefix = decode_prefix(view, offset)
    assert prefix is not None
    record = decode_record(view, offset, prefix)
    check_body(view, record)
    return record


def sealed(data: bytes) -> bytes:
    """A record whose prefix was changed on purpose, with a right checksum again."""
    fixed = data[: PREFIX_BYTES - 4]
    return fixed + struct.pack("<I", google_crc32c.value(fixed)) + data[PREFIX_BYTES:]


def test_a_record_is_read_as_written() -> None:
    data = bytes(ALIGN) + record_bytes()
    record = read(data, ALIGN)
    assert record.header == HEADER
    prefix = record.prefix
    assert (prefix.kind, prefix.sequence, prefix.epoch, prefix.durable) == (Kind.BLOCK, 3, 12345, 640)
    assert record.end == len(data)
    assert record.body % ALIGN == 0
    assert data[record.body : record.body + 9] == b"embedding"
    assert data[record.body + ALIGN :][:150] == b"abc" * 50


def test_pieces_of_a_body_are_aligned_and_checked_one_by_one() -> None:
    body = Body()
    extents = [body.add(bytes([i]) * size) for i, size in enumerate((0, 1, 64, 65, 200_000))]
    data = b"".join(bytes(piece) for piece in body.pieces)
    assert len(data) == body.size == 64 + 64 + 128 + 200_000
    assert body.crc == google_crc32c.value(data)
    for i, (offset, length, crc) in enumerate(extents):
        assert offset % ALIGN == 0
        assert data[offset : offset + length] == bytes([i]) * length
        assert crc == google_crc32c.value(data[offset : offset + length])


def test_every_flipped_bit_is_seen_or_harmless() -> None:
    """Prefix, header and body are covered; only zeros after the header may change unseen."""
    data = record_bytes()
    whole = read(data)
    padding = range(PREFIX_BYTES + whole.prefix.header_bytes, whole.body)
    for byte in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[byte] ^= 1 << bit
            if byte in padding:
                assert read(bytes(flipped)).header == HEADER
            else:
                with pytest.raises(Damaged):
                    read(bytes(flipped))


def test_every_truncation_is_seen() -> None:
    data = record_bytes()
    for size in range(1, len(data)):
        with pytest.raises(Damaged):
            read(data[:size])


@pytest.mark.parametrize("tail", [b"", bytes(1), bytes(PREFIX_BYTES), bytes(4096)])
def test_the_last_byte_and_zeros_are_an_end(tail: bytes) -> None:
    if len(tail) in (0, PREFIX_BYTES, 4096):
        assert decode_prefix(memoryview(tail), 0) is None
    else:
        with pytest.raises(Damaged):
            decode_prefix(memoryview(tail), 0)


def test_a_newer_version_and_an_unknown_kind_are_not_damage() -> None:
    data = bytearray(record_bytes())
    struct.pack_into("<H", data, 4, FORMAT_VERSION + 1)
    with pytest.raises(Unsupported, match="version 3"):
        read(sealed(bytes(data)))
    data = bytearray(record_bytes())
    struct.pack_into("<H", data, 6, 8)
    with pytest.raises(Unsupported, match="type 8"):
        read(sealed(bytes(data)))
    struct.pack_into("<I", data, 8, OPTIONAL)
    assert read(sealed(bytes(data))).prefix.kind == 8


def test_impossible_sizes_are_damage_before_anything_is_allocated() -> None:
    for offset, form in ((12, "<I"), (16, "<Q")):
        data = bytearray(record_bytes())
        struct.pack_into(form, data, offset, (1 << 31) if form == "<I" else (1 << 63))
        with pytest.raises(Damaged, match="large"):
            decode_prefix(memoryview(sealed(bytes(data))), 0)


class TestFindPrefix:
    def find(self, data: bytes, offset: int = 0) -> tuple[int, Prefix] | None:
        return find_prefix(memoryview(data), offset, epoch=12345, sequence=3)

    def test_finds_a_later_record_behind_garbage(self) -> None:
        data = b"\xff" * 5 * ALIGN + record_bytes(9)
        found = self.find(data, 1)
        assert found is not None
        assert (found[0], found[1].sequence) == (5 * ALIGN, 9)
        assert self.find(data, 5 * ALIGN) == found
        assert self.find(data, 5 * ALIGN + 1) is None

    def test_passes_over_what_this_reel_cannot_have_written_now(self) -> None:
        for other in (record_bytes(3), record_bytes(2), record_bytes(9, epoch=1), b"REEL" + bytes(60)):
            assert self.find(other) is None
            found = self.find(other + record_bytes(4))
            assert found is not None
            assert found[1].sequence == 4

    def test_nothing_is_found_in_nothing(self) -> None:
        assert self.find(b"") is None
        assert self.find(bytes(10_000)) is None
        assert self.find(b"REEL") is None
