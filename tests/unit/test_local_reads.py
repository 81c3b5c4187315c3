"""Memory of the local path's blocks: what may be asked for, who has it, what is kept."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from memory_service.errors import InvalidArgument, TooLarge
from memory_service.local import PROOF_BYTES
from memory_service.local import sessions as sessions_module
from memory_service.local.sessions import LocalSessions, Session
from memory_service.local.staged_reads import Buffers

MIB = 1 << 20
LENGTH = 10_000


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[LocalSessions]:
    made = LocalSessions(tmp_path, max_staging_bytes=4 * MIB, max_block_bytes=MIB, sweep_s=60.0)
    yield made
    made.close()


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> Buffers:
    """Those of the sessions."""
    made = Buffers()
    monkeypatch.setattr(sessions_module, "Buffers", lambda: made)
    return made


def places(*lengths: int) -> list[tuple[int, int, str]]:
    return [(PROOF_BYTES, length, f"payloads[{i}]") for i, length in enumerate(lengths)]


def filled(sessions: LocalSessions, value: int) -> Session:
    """A session whose first bytes are all `value`."""
    session = sessions.open(MIB)
    with session.path.open("r+b") as file:
        file.seek(PROOF_BYTES)
        file.write(bytes([value]) * LENGTH)
    return session


def test_a_block_that_is_too_large_is_refused_before_there_is_memory_for_it(
    sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.open(4 * MIB)
    with sessions.reading(session.name) as read:
        assert len(read(places(MIB // 2, MIB // 2))) == 2
    monkeypatch.setattr(Buffers, "take", lambda *_: pytest.fail("memory was taken"))
    with sessions.reading(session.name) as read, pytest.raises(TooLarge) as caught:
        read(places(MIB, 1))
    assert caught.value.field == "block"
    assert caught.value.expected == f"at most {MIB} bytes"


def test_what_one_call_reads_stays_while_others_read(buffers: Buffers, sessions: LocalSessions) -> None:
    made = [filled(sessions, value) for value in range(20)]
    with ExitStack() as calls:
        views = [calls.enter_context(sessions.reading(one.name))(places(LENGTH))[0] for one in made]
        assert [bytes(view) for view in views] == [bytes([value]) * LENGTH for value in range(20)]
    assert buffers.num_spare == 8


def test_what_a_thread_reads_stays_while_other_threads_read(sessions: LocalSessions) -> None:
    made = [filled(sessions, value) for value in range(16)]
    start = threading.Barrier(len(made))

    def whole(value: int) -> bool:
        start.wait()
        for turn in range(200):
            with sessions.reading(made[value].name) as read:
                (view,) = read(places(LENGTH - turn))
                time.sleep(0)
                if bytes(view) != bytes([value]) * (LENGTH - turn):
                    return False
        return True

    with ThreadPoolExecutor(len(made)) as threads:
        assert all(threads.map(whole, range(len(made))))


def test_memory_is_used_again_by_whichever_thread(buffers: Buffers, sessions: LocalSessions) -> None:
    session = filled(sessions, 1)

    def used() -> int:
        with sessions.reading(session.name) as read:
            return id(read(places(LENGTH))[0].obj)

    with ThreadPoolExecutor(1) as thread:
        assert used() == thread.submit(used).result()
    assert buffers.num_spare == 1


def test_memory_comes_back_from_a_call_that_fails(buffers: Buffers, sessions: LocalSessions) -> None:
    session = filled(sessions, 1)
    with suppress(ZeroDivisionError), sessions.reading(session.name) as read:
        read(places(LENGTH))
        raise ZeroDivisionError
    assert buffers.num_spare == 1
    with session.path.open("r+b") as file:
        file.truncate(PROOF_BYTES)
    with pytest.raises(InvalidArgument), sessions.reading(session.name) as read:
        read(places(LENGTH))
    assert buffers.num_spare == 1


def test_memory_is_kept_no_longer_than_there_are_sessions(
    buffers: Buffers, sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = filled(sessions, 1)
    with sessions.reading(session.name) as read:
        read(places(LENGTH))
    sessions.sweep()
    assert buffers.num_spare == 1
    monkeypatch.setattr(sessions_module, "_GRACE_S", 0.0)
    sessions.sweep()
    assert sessions.num_sessions == 0
    assert buffers.num_spare == 0
