"""Pages of the retrieval log: only what is asked for is read, and the log may grow meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich_videos import fill, like
from samples import KEY

from memory_service.engine import MemoryEngine
from memory_service.reel import Record
from memory_service.store.reel_file import ReelFile


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MemoryEngine]:
    """A memory whose video KEY was searched 40 times, with k = 1, 2, ..."""
    memory = MemoryEngine(tmp_path)
    fill(memory, KEY, 24)
    for k in range(1, 41):
        memory.search(KEY, [like(k, k)])
    yield memory
    memory.close()


def test_a_page_reads_its_entries_and_no_others(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    record = ReelFile.record

    def counted(reel: ReelFile, offset: int) -> Record:
        read.append(offset)
        return record(reel, offset)

    monkeypatch.setattr(ReelFile, "record", counted)
    assert [entry.k for entry in engine.retrievals(KEY, start=30, limit=3)] == [31, 32, 33]
    assert len(read) == 3
    assert [entry.k for entry in engine.retrievals(KEY, limit=2, newest_first=True)] == [40, 39]
    assert len(read) == 5
    assert len(engine.retrievals(KEY, start=40, limit=1000)) == 0
    assert len(read) == 5


def test_the_log_survives_a_restart_with_all_that_it_says(engine: MemoryEngine, tmp_path: Path) -> None:
    before = engine.retrievals(KEY, start=38)
    engine.close()
    again = MemoryEngine(tmp_path)
    try:
        assert again.retrievals(KEY, start=38) == before
        assert [entry.num_candidates for entry in before] == [24, 24]
    finally:
        again.close()


def test_a_page_reads_on_after_the_video_is_gone(engine: MemoryEngine) -> None:
    with engine._videos.use(KEY) as video:
        read = video._log.reader(0, 2, newest_first=True)
    engine.drop_video(KEY)
    assert [entry.k for entry in read()] == [40, 39]
