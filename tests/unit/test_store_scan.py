"""Verifying a reel: what is a torn tail, what is damage, and that nobody mistakes one for the other.

A reel of five blocks is made of which the first `DURABLE_BLOCKS` were committed; then its bytes are harmed.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import KEY, SPEC, block

from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss, Unavailable
from memory_service.records import pack_block
from memory_service.reel import PREFIX_BYTES, Kind, Record
from memory_service.store.files import FileStore
from memory_service.store.scan import Scan, scan
from memory_service.types import VideoInfo, VideoState

BLOCKS = 5
DURABLE_BLOCKS = 2
EXTENT_BYTES = 1 << 13


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path, extent_bytes=EXTENT_BYTES)


@pytest.fixture
def path(store: FileStore, tmp_path: Path) -> Path:
    """A reel as a crash leaves it: five blocks, two of them durable, preallocated space behind."""
    store.create(VideoInfo(KEY, SPEC, VideoState(77, 0, 0), 0))
    reel, _ = store.open(KEY)
    for number in range(BLOCKS):
        reel.append(Kind.BLOCK, *pack_block(block(3 * number)))
        if number == DURABLE_BLOCKS - 1:
            reel.commit()
    reel.abandon()
    return tmp_path / KEY.pool / f"{KEY.video}.reel"


def scanned(path: Path, *, verify_all: bool = True) -> Scan:
    return scan(path, memoryview(path.read_bytes()), verify_all=verify_all)


def blocks_of(found: Scan) -> list[Record]:
    return [record for record in found.records if record.prefix.kind == Kind.BLOCK]


def places(path: Path) -> tuple[list[Record], Record]:
    """The blocks of a reel, and its first commit record, which proves the blocks before it durable."""
    found = scanned(path)
    commits = [record for record in found.records if record.prefix.kind == Kind.COMMIT]
    return blocks_of(found), commits[-1]


def harm(path: Path, change: Callable[[bytearray], None]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def test_a_whole_reel_has_all_its_records_and_no_recovery(path: Path) -> None:
    found = scanned(path)
    assert found.recovery is None
    assert len(blocks_of(found)) == BLOCKS
    assert [record.prefix.sequence for record in found.records] == list(range(len(found.records)))
    assert blocks_of(found)[1].end == found.durable
    assert path.stat().st_size == EXTENT_BYTES


def test_a_tail_torn_at_any_byte_is_cut_and_reported(path: Path) -> None:
    whole = path.read_bytes()
    blocks, _ = places(path)
    last = blocks[-1]
    for size in range(last.offset + 1, last.end):
        for tail in (b"", bytes(EXTENT_BYTES - size)):
            if tail and not any(whole[size : last.end]):
                continue
            path.write_bytes(whole[:size] + tail)
            found = scanned(path)
            assert found.end == last.offset
            assert found.recovery is not None
            assert found.recovery.offset == last.offset
            assert found.recovery.frames_kept == 3 * (BLOCKS - 1)
            assert found.recovery.bytes_cut == len(whole[last.offset : size].rstrip(b"\0"))


@pytest.mark.parametrize("lost", ["prefix", "header", "body"])
def test_pages_that_never_reached_the_disk_are_a_torn_tail(path: Path, lost: str) -> None:
    """A loss of power may keep later pages and lose earlier ones of what was not durable yet."""
    blocks, _ = places(path)
    third = blocks[DURABLE_BLOCKS]
    begin, end = {
        "prefix": (third.offset, third.offset + PREFIX_BYTES),
        "header": (third.offset + PREFIX_BYTES, third.body),
        "body": (third.body, third.end),
    }[lost]

    def lose(data: bytearray) -> None:
        data[begin:end] = bytes(end - begin)

    harm(path, lose)
    found = scanned(path)
    rest = path.read_bytes()[third.offset :]
    assert found.end == third.offset
    assert found.recovery is not None
    assert found.recovery.frames_kept == 3 * DURABLE_BLOCKS
    assert found.recovery.bytes_cut == len(rest.rstrip(b"\0"))


@pytest.mark.parametrize("number", range(DURABLE_BLOCKS))
@pytest.mark.parametrize("where", ["magic", "prefix", "header", "embeddings", "payload"])
def test_a_flipped_bit_in_durable_records_is_damage(path: Path, number: int, where: str) -> None:
    victim = places(path)[0][number]
    offset = {
        "magic": victim.offset,
        "prefix": victim.offset + 20,
        "header": victim.offset + PREFIX_BYTES + 3,
        "embeddings": victim.body + 5,
        "payload": victim.end - 50,
    }[where]

    def flip(data: bytearray) -> None:
        data[offset] ^= 0x10

    harm(path, flip)
    with pytest.raises(DataLoss) as error:
        scanned(path)
    assert str(path) in str(error.value)
    assert error.value.details["offset"] == str(victim.offset)
    assert error.value.details["record"] == str(victim.prefix.sequence)


def test_durable_records_that_are_missing_are_damage(path: Path) -> None:
    """The commit record survives; what it proves does not."""
    blocks, commit = places(path)

    def erase(data: bytearray) -> None:
        data[blocks[0].offset : commit.offset] = bytes(commit.offset - blocks[0].offset)

    harm(path, erase)
    with pytest.raises(DataLoss):
        scanned(path)


def test_any_flipped_bit_of_a_closed_reel_is_damage(store: FileStore, path: Path) -> None:
    """A clean end proves everything durable, the last record included."""
    reel, _ = store.open(KEY)
    reel.close()
    whole = path.read_bytes()
    final = places(path)[0][-1]
    paddings = [
        range(record.offset + PREFIX_BYTES + record.prefix.header_bytes, record.body)
        for record in scanned(path).records
    ]
    for offset in np.random.default_rng(0).choice(final.end, 400, replace=False):
        if not any(offset in padding for padding in paddings):
            flipped = bytearray(whole)
            flipped[offset] ^= 1 << (offset % 8)
            path.write_bytes(flipped)
            with pytest.raises(DataLoss):
                scanned(path)


def test_a_reel_without_its_first_record_is_damage(path: Path) -> None:
    whole = path.read_bytes()
    second = scanned(path).records[1].offset
    for bad in (b"", whole[:10], bytes(4096), whole[second:], b"\xff" * 4096):
        path.write_bytes(bad)
        with pytest.raises(DataLoss):
            scanned(path)


def test_a_record_of_another_place_is_not_taken_for_the_next(path: Path) -> None:
    blocks, _ = places(path)
    third, fourth = blocks[2], blocks[3]

    def repeat(data: bytearray) -> None:
        data[fourth.offset : fourth.end] = data[third.offset : third.end]

    harm(path, repeat)
    found = scanned(path)
    assert found.end == fourth.offset
    assert found.recovery is not None
    assert "sequence" in found.recovery.reason


def test_a_record_of_a_newer_format_is_refused_and_kept(path: Path) -> None:
    last = places(path)[0][-1]
    whole = bytearray(path.read_bytes())
    whole[last.offset + 6 : last.offset + 8] = struct.pack("<H", 99)
    fixed = bytes(whole[last.offset : last.offset + PREFIX_BYTES - 4])
    whole[last.offset + PREFIX_BYTES - 4 : last.offset + PREFIX_BYTES] = struct.pack("<I", crc32c(fixed))
    path.write_bytes(whole)
    with pytest.raises(Unavailable, match="newer"):
        scanned(path)


def test_a_glance_reads_only_what_is_not_proven(path: Path) -> None:
    """Without `verify_all`, harm in a durable body goes unseen and harm in any other does not."""
    blocks, _ = places(path)

    def flip(offset: int) -> Callable[[bytearray], None]:
        def change(data: bytearray) -> None:
            data[offset] ^= 1

        return change

    harm(path, flip(blocks[0].body + 1))
    assert len(blocks_of(scanned(path, verify_all=False))) == BLOCKS
    harm(path, flip(blocks[-1].body + 1))
    assert len(blocks_of(scanned(path, verify_all=False))) == BLOCKS - 1
