"""A flipped bit in every place of every kind of record: what the memory does, and what `verify` says."""

import shutil
from pathlib import Path

import pytest
from damaging import flip, places, records_of
from samples import ALL, SPEC, assert_frames, block, query, state

from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss
from memory_service.reel import Kind, Record
from memory_service.store.findings import Class, Finding, Part
from memory_service.types import Query, Span, VideoKey
from memory_service.verify import verify

HARMED, OTHER = VideoKey("pool", "harmed"), VideoKey("pool", "other")
DURABLE, LENGTH = 9, 18


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a crash leaves it: of each video 9 frames are durable and 9 are not."""
    made = tmp_path_factory.mktemp("crashed")
    memory = MemoryEngine(made / "data", durability="none", extent_bytes=1 << 14)
    for key in (HARMED, OTHER):
        memory.create_video(key, SPEC)
        for start in range(0, LENGTH, 3):
            previews = [b"p" * (start + row) for row in range(3)]
            memory.append(key, block(start, preview=previews), sync=start + 3 == DURABLE)
            memory.search(key, [Query(2, ALL, frame=start)])
    shutil.copytree(made / "data", made / "copy")
    memory.close()
    return made / "copy"


@pytest.fixture
def data_dir(crashed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(crashed, tmp_path / "data"))


def reel(data_dir: Path) -> Path:
    return data_dir / HARMED.pool / f"{HARMED.video}.reel"


def records(data_dir: Path) -> list[Record]:
    return records_of(reel(data_dir))


def by_kind(data_dir: Path, kind: Kind, *, durable: bool) -> Record:
    """The first record of a kind on one side of the durable mark, with records of other kinds behind it."""
    found = records(data_dir)
    mark = max(record.prefix.durable for record in found)
    return next(
        record for record in found if record.prefix.kind == kind and (record.offset < mark) == durable
    )


def check_others(memory: MemoryEngine) -> None:
    assert_frames(memory, 0, LENGTH, OTHER)


@pytest.mark.parametrize("kind", [Kind.VIDEO, Kind.BLOCK, Kind.RETRIEVAL, Kind.COMMIT])
def test_harm_to_durable_records_is_damage_and_told_exactly(
    data_dir: Path, crashed: Path, kind: Kind
) -> None:
    record, end = by_kind(data_dir, kind, durable=True), records(data_dir)[-1].end
    for place in places(record):
        if place.part is Part.HEADER_PADDING:
            continue
        flip(reel(data_dir), place.offset)
        before = reel(data_dir).read_bytes()
        (finding,) = verify(data_dir).findings
        assert (finding.kind, finding.part) == (Class.DAMAGE, place.part), place.name
        assert (finding.offset, finding.record) == (record.offset, record.prefix.sequence), place.name
        assert (finding.frames, finding.open_end) == (place.frames, False), place.name
        assert finding.intact == LENGTH - sum(map(len, place.frames)), place.name
        memory = MemoryEngine(data_dir)
        with pytest.raises(DataLoss) as error:
            memory.search(HARMED, [query(like=1)])
        assert error.value.details["offset"] == str(record.offset)
        check_others(memory)
        memory.close()
        assert reel(data_dir).read_bytes()[:end] == before[:end], "what is damaged is left as it is"
        assert [where(again) for again in verify(data_dir).findings] == [where(finding)]
        shutil.copytree(crashed, data_dir, dirs_exist_ok=True)
    assert verify(data_dir).findings == ()


def where(finding: Finding) -> tuple[Class, Part, int | None, tuple[Span, ...]]:
    return finding.kind, finding.part, finding.offset, finding.frames


@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.RETRIEVAL])
def test_harm_to_records_that_were_not_durable_is_a_torn_tail(
    data_dir: Path, tmp_path: Path, kind: Kind
) -> None:
    record = by_kind(data_dir, kind, durable=False)
    kept = sum(
        earlier.header["n"]
        for earlier in records(data_dir)
        if earlier.prefix.kind == Kind.BLOCK and earlier.offset < record.offset
    )
    whole = MemoryEngine.open_read_only(data_dir)
    before = whole.search(HARMED, [Query(5, Span(0, kept), embedding=query(like=99).embedding)])
    whole.close()
    for number, place in enumerate(places(record)):
        if place.part is Part.HEADER_PADDING:
            continue
        harmed = Path(shutil.copytree(data_dir, tmp_path / f"harmed-{number}"))
        flip(reel(harmed), place.offset)
        (finding,) = verify(harmed).findings
        assert (finding.kind, finding.part) == (Class.TORN_TAIL, place.part), place.name
        assert (finding.offset, finding.record) == (record.offset, record.prefix.sequence), place.name
        assert (finding.frames, finding.intact) == ((Span(kept, LENGTH),), kept), place.name
        check_cut(harmed, kept, before.hits)
        assert verify(harmed).findings == ()


def check_cut(harmed: Path, kept: int, hits: object) -> None:
    """What the reel held before the tail is there, the same to the last bit, and goes on."""
    memory = MemoryEngine(harmed)
    assert state(memory, HARMED).length == kept
    assert_frames(memory, 0, kept, HARMED)
    after = memory.search(HARMED, [Query(5, Span(0, kept), embedding=query(like=99).embedding)])
    assert after.hits == hits
    assert [recovery.frames_kept for recovery in memory.recoveries] == [kept]
    memory.append(HARMED, block(kept))
    assert_frames(memory, 0, kept + 3, HARMED)
    check_others(memory)
    memory.close()


def test_harm_to_padding_that_nobody_reads_harms_nobody(data_dir: Path) -> None:
    found = [place for record in records(data_dir) for place in places(record)]
    paddings = [place for place in found if place.part is Part.HEADER_PADDING]
    assert len(paddings) > 10
    for place in paddings:
        flip(reel(data_dir), place.offset)
        (finding,) = verify(data_dir).findings
        assert (finding.kind, finding.part) == (Class.DAMAGE, Part.HEADER_PADDING)
        assert (finding.record, finding.frames, finding.intact) == (place.record.prefix.sequence, (), LENGTH)
        assert str(place.offset) in finding.message
        memory = MemoryEngine.open_read_only(data_dir)
        assert_frames(memory, 0, LENGTH, HARMED)
        memory.close()
        flip(reel(data_dir), place.offset)


@pytest.mark.parametrize("where", [0, 63, 64, 1000, -1])
def test_a_byte_in_preallocated_space_is_a_torn_tail(data_dir: Path, where: int) -> None:
    end = records(data_dir)[-1].end
    size = reel(data_dir).stat().st_size
    flip(reel(data_dir), end + where if where >= 0 else size - 1)
    (finding,) = verify(data_dir).findings
    assert (finding.kind, finding.offset, finding.frames) == (Class.TORN_TAIL, end, ())
    assert finding.intact == LENGTH
    memory = MemoryEngine(data_dir)
    assert_frames(memory, 0, LENGTH, HARMED)
    memory.close()
    assert verify(data_dir).findings == ()


def test_several_harms_are_told_one_by_one(data_dir: Path) -> None:
    found = records(data_dir)
    blocks = [record for record in found if record.prefix.kind == Kind.BLOCK]
    flip(reel(data_dir), blocks[0].body + 2)
    flip(reel(data_dir), blocks[1].offset + 2)
    flip(reel(data_dir), blocks[4].end - 70)
    findings = verify(data_dir).findings
    assert [summary(finding) for finding in findings] == [
        (Class.DAMAGE, blocks[0].offset, (Span(0, 1),)),
        (Class.DAMAGE, blocks[1].offset, (Span(3, 6),)),
        (Class.TORN_TAIL, blocks[4].offset, (Span(12, LENGTH),)),
    ]
    assert {finding.intact for finding in findings} == {LENGTH - 1 - 3 - 6}
    assert {(finding.pool, finding.video) for finding in findings} == {(HARMED.pool, HARMED.video)}


def summary(finding: Finding) -> tuple[Class, int | None, tuple[Span, ...]]:
    return finding.kind, finding.offset, finding.frames


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_pages_that_became_zeros_are_told_with_their_frames(data_dir: Path, pages: int) -> None:
    """A hole over several records: the frames between the good blocks on both sides are affected."""
    memory = MemoryEngine(data_dir)
    for start in range(LENGTH, 90, 3):
        memory.append(HARMED, block(start))
    memory.close()
    with reel(data_dir).open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096 * pages))
    findings = verify(data_dir).findings
    hit = {frame for finding in findings for span in finding.frames for frame in range(span.start, span.stop)}
    assert all(finding.kind is Class.DAMAGE for finding in findings)
    assert not any(finding.open_end for finding in findings)
    assert {finding.intact for finding in findings} == {90 - len(hit)}
