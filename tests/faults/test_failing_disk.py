"""A disk that fails under a running server: a typed error, nothing half done or twice, others go on."""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from injection import CHANGES, SYNCS, Call, Injector
from samples import ALL, KEY, SPEC, assert_frames, block, handle, query, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.errors import DeadlineExceeded, Exhausted, NotFound, ServiceError, Unavailable
from memory_service.store.findings import Class
from memory_service.types import Query, VideoKey
from memory_service.verify import verify

OTHER, NEW = VideoKey("pool", "other"), VideoKey("pool", "new")
REEL, REELS = f"*/{KEY.pool}/{KEY.video}.reel", "*/pool/*"
TIMEOUT_S = 2.5
FAILURES = {
    errno.ENOSPC: (Exhausted, "free space"),
    errno.EDQUOT: (Exhausted, "quota"),
    errno.EFBIG: (Exhausted, "limit"),
    errno.EIO: (Unavailable, "disk"),
    errno.EROFS: (Unavailable, "mounted for writing"),
}


@pytest.fixture
def server(tmp_path: Path, injector: Injector) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", env=dict(injector.environment)) as running:
        yield running


@pytest.fixture
def memory(server: ServerProcess) -> MemoryClient:
    """Two videos with frames [0, 3), durable. Each test checks the data at its end."""
    client = MemoryClient(server.address, timeout_s=TIMEOUT_S)
    for key in (KEY, OTHER):
        client.create_video(key, SPEC)
        client.append(key, block(0), sync=True)
    return client


def check_after(server: ServerProcess, data_dir: Path, lengths: dict[VideoKey, int]) -> None:
    """After kill -9 and another start: exactly these frames, searchable, and nothing wrong."""
    before = {}
    with MemoryClient(server.address) as memory:
        for key, length in lengths.items():
            before[key] = memory.search(key, [Query(5, ALL, embedding=query(like=7).embedding)], log=False)
            assert before[key].state.length == length
    server.kill()
    assert "Traceback" not in server.log.read_text()
    reopened = MemoryEngine(data_dir)
    for key, length in lengths.items():
        assert state(reopened, key).length == length
        assert_frames(reopened, 0, length, key)
        after = reopened.search(key, [Query(5, ALL, embedding=query(like=7).embedding)], log=False)
        assert after.hits == before[key].hits
    reopened.close()
    assert verify(data_dir).findings == ()


def refusal(call: Callable[[], object], expected: type[ServiceError]) -> ServiceError:
    """Why a call was refused. One whose last attempt was cut short by its own deadline is made again."""
    for _ in range(5):
        with pytest.raises((expected, DeadlineExceeded)) as error:
            call()
        if isinstance(error.value, expected):
            return error.value
    pytest.fail(f"no attempt ended with {expected.__name__}")


@pytest.mark.parametrize("code", FAILURES, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("call", [Call.PWRITE, Call.FALLOCATE])
def test_a_failed_append_changes_nothing_and_can_be_repeated(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path, call: Call, code: int
) -> None:
    large = block(3, 90, preview=[bytes(50_000)] * 90)  # more than an extent, so that space must be found
    rule = injector.fail(call, code, REEL)
    expected, remedy = FAILURES[code]
    error = refusal(lambda: memory.append(KEY, large), expected)
    assert rule.fired > 0
    assert error.details["errno"] == errno.errorcode[code]
    assert remedy in error.expected
    assert memory.append(OTHER, block(3)).state.length == 6
    assert_frames(memory, 0, 3)
    memory.search(KEY, [query(like=1)])
    rule.lift()
    assert not memory.append(KEY, large).duplicate
    assert memory.append(KEY, large).duplicate
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 93, OTHER: 6})


@pytest.mark.parametrize("to", [1, 63, 64, 500])
def test_writes_that_are_cut_short_go_on(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path, to: int
) -> None:
    rule = injector.shorten(REEL, to=to)
    memory.append(KEY, block(3))
    memory.search(KEY, [query(like=1)])
    assert rule.fired > 0
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 6, OTHER: 3})


def test_a_write_that_fails_half_way_leaves_nothing_of_it(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
) -> None:
    injector.shorten(REEL, to=100, count=1)
    rule = injector.fail(Call.PWRITE, errno.EIO, REEL, after=1, count=1)
    # The client tries again after UNAVAILABLE, and this time it works: exactly one block is there.
    answer = memory.append(KEY, block(3))
    assert rule.fired == 1
    assert (answer.state.length, answer.duplicate) == (6, False)
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 6, OTHER: 3})


def test_a_partial_write_that_cannot_be_undone_stops_the_video(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
) -> None:
    injector.shorten(REEL, to=100)
    injector.fail(Call.PWRITE, errno.EIO, REEL, after=1)
    injector.fail(Call.FTRUNCATE, errno.EIO, REEL)
    with pytest.raises(Unavailable):
        memory.append(KEY, block(3))
    injector.clear()
    with pytest.raises(Unavailable, match="partial write") as error:
        memory.append(KEY, block(3))
    assert "restart" in error.value.expected
    assert_frames(memory, 0, 3)
    assert memory.append(OTHER, block(3)).state.length == 6
    server.kill()
    findings = verify(tmp_path / "data").findings
    assert [(found.kind, found.video, found.intact) for found in findings] == [(Class.TORN_TAIL, "video", 3)]
    reopened = MemoryEngine(tmp_path / "data")
    assert_frames(reopened, 0, 3)
    reopened.append(KEY, block(3))
    reopened.close()
    assert verify(tmp_path / "data").findings == ()


class TestFailedSync:
    def test_the_video_says_so_and_others_go_on(
        self, server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
    ) -> None:
        rule = injector.fail(Call.FDATASYNC, errno.EIO, REEL, count=1)
        answer = memory.append(KEY, block(3))
        wait_for(lambda: rule.fired == 1)
        for sync in (False, True):
            with pytest.raises(Unavailable, match="fdatasync") as error:
                memory.append(KEY, block(6), sync=sync)
            assert "restart" in error.value.expected
        assert state(memory).durable == answer.state.durable == 3, "the mark never moves again"
        assert memory.append(OTHER, block(3), sync=True).state.durable == 6
        assert_frames(memory, 0, 6)
        assert memory.search(KEY, [query(like=1)]).state.length == 6
        server.kill()
        assert verify(tmp_path / "data").clean
        reopened = MemoryEngine(tmp_path / "data")
        assert_frames(reopened, 0, 3)
        assert_frames(reopened, 0, 6, OTHER)
        reopened.close()
        assert verify(tmp_path / "data").findings == ()

    def test_an_append_with_sync_is_not_acknowledged(
        self, server: ServerProcess, memory: MemoryClient, injector: Injector
    ) -> None:
        injector.fail(Call.FDATASYNC, errno.EIO, REEL)
        with pytest.raises(Unavailable):
            memory.append(KEY, block(3), sync=True)
        assert state(memory).durable == 3
        assert "poisoned" in server.log.read_text()

    def test_after_a_restart_only_what_is_on_the_disk_counts(
        self, tmp_path: Path, injector: Injector
    ) -> None:
        """The kernel shows pages that it could not write as if they were clean, unless told to drop them."""
        disk, log = tmp_path / "disk", tmp_path / "server.log"
        disk.mkdir()
        injector.watch(disk, tmp_path / "shadow")
        environment = dict(injector.environment)
        with ServerProcess(disk / "data", log=log, env=environment) as server:
            with MemoryClient(server.address, timeout_s=TIMEOUT_S) as memory:
                memory.create_video(KEY, SPEC)
                memory.append(KEY, block(0), sync=True)
            rule = injector.fail(Call.FDATASYNC, errno.EIO, REEL, count=1)
            memory = MemoryClient(server.address, timeout_s=TIMEOUT_S)
            assert memory.append(KEY, block(3)).state.length == 6
            wait_for(lambda: rule.fired == 1)
            server.kill()
        injector.clear()
        # What the failed fdatasync covered never reached the disk, but its pages look clean.
        injector.freeze_disk()
        revealed = injector.reveal_disk(REEL)
        with ServerProcess(disk / "data", log=log, env=environment) as server:
            again = MemoryClient(server.address)
            assert state(again).length == 3
            assert_frames(again, 0, 3)
            assert revealed.fired == 1
            again.append(KEY, block(3, 1), sync=True)
            again.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOMEM], ids=errno.errorcode.__getitem__)
def test_a_reel_that_cannot_be_mapped_is_unavailable_until_it_can(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path, code: int
) -> None:
    """What is not mapped yet: a video that is opened, and one that has grown."""
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 3, OTHER: 3})
    rule = injector.fail(Call.MMAP, code, REEL)
    with ServerProcess(tmp_path / "data", env=dict(injector.environment)) as again:
        client = MemoryClient(again.address, timeout_s=TIMEOUT_S)
        for call in (lambda: client.append(KEY, block(3)), lambda: client.search(KEY, [query(like=1)])):
            with pytest.raises(Unavailable) as error:
                call()
            assert error.value.details["errno"] == errno.errorcode[code]
            assert error.value.expected
        assert client.append(OTHER, block(3)).state.length == 6
        assert rule.fired > 0
        injector.clear()
        client.append(KEY, block(3), sync=True)
        injector.fail(Call.MMAP, code, REEL)
        large = block(6, 60, preview=[bytes(100_000)] * 60)
        with contextlib.suppress(Unavailable):
            client.append(KEY, large)
            client.fetch([handle(client, 60)])
        injector.clear()
        assert client.append(KEY, large, sync=True).state.length == 66
        assert_frames(client, 0, 66)
        client.close()
        check_after(again, tmp_path / "data", {KEY: 66, OTHER: 6})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.__getitem__)
def test_a_creation_that_fails_at_any_step_leaves_no_video(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path, code: int
) -> None:
    for step in range(100):
        rule = injector.fail(CHANGES & ~Call.UNLINK, code, REELS, after=step, count=1)
        try:
            created = memory.create_video(NEW, SPEC)
        except FAILURES[code][0]:
            assert rule.fired == 1
            with contextlib.suppress(NotFound):  # its own commit may have failed once it was there
                assert memory.get_video(NEW).state.length == 0
        else:
            # UNAVAILABLE is tried again by the client: the video is there, once and empty.
            assert created.state.length == 0
        fired = rule.fired
        injector.clear()
        with contextlib.suppress(NotFound):
            memory.drop_video(NEW)
        assert memory.create_video(NEW, SPEC).state.length == 0
        assert memory.append(NEW, block(0), sync=True).state.durable == 3
        memory.drop_video(NEW)
        if not fired:
            break
    assert step > 3
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 3, OTHER: 3})


def test_a_drop_that_fails_can_be_repeated(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
) -> None:
    injector.fail(Call.UNLINK, errno.EIO, REELS)
    with pytest.raises(Unavailable):
        memory.drop_video(KEY)
    injector.clear()
    assert_frames(memory, 0, 3)
    memory.append(KEY, block(3), sync=True)
    memory.drop_video(KEY)
    with pytest.raises(NotFound):
        memory.get_video(KEY)
    memory.close()
    check_after(server, tmp_path / "data", {OTHER: 3})


def test_a_drop_whose_sync_fails_ends_the_video_and_is_not_found_only_when_that_is_durable(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
) -> None:
    """The client takes NotFound after UNAVAILABLE for a success: it must not hear it before it is true."""
    rule = injector.fail(Call.FSYNC, errno.EIO, "*/pool")
    with pytest.raises(Unavailable) as error:
        memory.drop_video(KEY)
    assert error.value.details["errno"] == "EIO"
    assert rule.fired > 1, "each try syncs again"
    for use in (lambda: memory.get_video(KEY), lambda: memory.append(KEY, block(3))):
        with pytest.raises(NotFound):
            use()
    before = rule.fired
    with pytest.raises(Unavailable):
        memory.drop_video(KEY)
    assert rule.fired > before
    injector.clear()
    synced = injector.count(Call.FSYNC, "*/pool")
    with pytest.raises(NotFound):
        memory.drop_video(KEY)
    assert synced.matched > 0
    assert memory.append(OTHER, block(3)).state.length == 6
    memory.close()
    check_after(server, tmp_path / "data", {OTHER: 6})


def test_a_slow_disk_delays_only_who_waits_for_it(
    server: ServerProcess, memory: MemoryClient, injector: Injector, tmp_path: Path
) -> None:
    injector.delay(SYNCS, 1.5, REEL)
    began = time.monotonic()
    for start in (3, 6, 9):
        memory.append(KEY, block(start))
    memory.append(OTHER, block(3), sync=True)
    assert time.monotonic() - began < 1.0
    injector.clear()
    memory.close()
    check_after(server, tmp_path / "data", {KEY: 12, OTHER: 6})


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
