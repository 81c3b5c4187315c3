"""Files of the local path: both ends in one process, and what either end can do wrong."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memory_service.errors import Exhausted, InvalidArgument, Overloaded
from memory_service.local import PROOF_BYTES
from memory_service.local import sessions as sessions_module
from memory_service.local.reels import MappedReels
from memory_service.local.sessions import LocalSessions, Session
from memory_service.local.staging import Staging
from memory_service.types import ReelExtent


@pytest.fixture
def sessions(tmp_path: Path) -> LocalSessions:
    made = LocalSessions(tmp_path, max_sessions=2, max_staging_bytes=2 << 20)
    yield made
    made.close()


def staging(session: Session) -> Staging:
    return Staging(session.path, session.num_bytes, session.proof)


def numbered(extents: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    return [(offset, length, f"payloads[{i}]") for i, (offset, length) in enumerate(extents)]


def read(sessions: LocalSessions, session: str, extents: list[tuple[int, int, str]]) -> list[bytes]:
    with sessions.reading(session) as reader:
        return list(map(bytes, reader(extents)))


def test_what_one_end_stages_the_other_reads(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    client = staging(session)
    payloads = [b"a" * 1000, bytearray(b"b" * 77), memoryview(b"c" * 64), b""]
    with client.staged(payloads) as extents:
        assert extents is not None
        assert read(sessions, session.name, numbered(extents)) == list(map(bytes, payloads))
    client.close()


def test_staged_blocks_do_not_overlap_and_room_comes_back(sessions: LocalSessions) -> None:
    client = staging(sessions.open(1 << 20))
    half = bytes(500_000)
    with client.staged([half]) as first, client.staged([half]) as second:
        assert first is not None
        assert second is not None
        assert abs(first[0][0] - second[0][0]) >= len(half)
        with client.staged([half]) as third:
            assert third is None
    with client.staged([half, half]) as both:
        assert both is not None
    client.close()


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 8), (PROOF_BYTES - 1, 8), (-8, 8), (PROOF_BYTES, -1), (PROOF_BYTES, 1 << 40)]
)
def test_extents_outside_the_file_are_refused(sessions: LocalSessions, offset: int, length: int) -> None:
    session = sessions.open(1 << 20)
    with pytest.raises(InvalidArgument) as caught:
        read(sessions, session.name, [(offset, length, "block.parts[0].local[0]")])
    assert caught.value.field == "block.parts[0].local[0]"


def test_a_file_that_its_client_shortens_is_refused_and_kills_nobody(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    os.truncate(session.path, PROOF_BYTES + 10)
    with pytest.raises(InvalidArgument, match="too short"):
        read(sessions, session.name, [(PROOF_BYTES, 100, "payloads[0]")])


def test_bytes_read_do_not_change_with_the_file(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    client = staging(session)
    with sessions.reading(session.name) as reader:
        with client.staged([b"before"]) as extents:
            assert extents is not None
            (view,) = reader(numbered(extents))
        with client.staged([b"after!"]):
            assert bytes(view) == b"before"
    client.close()


@pytest.mark.parametrize("at", [[0, 10, 20], [0, 10, 30], [30, 0, 10], [5, 5, 0]])
def test_extents_that_follow_each_other_or_do_not_are_read_alike(
    sessions: LocalSessions, at: list[int]
) -> None:
    session = sessions.open(1 << 20)
    content = bytes(range(100))
    with session.path.open("r+b") as file:
        file.seek(PROOF_BYTES)
        file.write(content)
    extents = numbered([(PROOF_BYTES + offset, 10) for offset in at])
    assert read(sessions, session.name, extents) == [content[offset : offset + 10] for offset in at]


def test_the_first_extent_that_a_shortened_file_lacks_is_named(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    os.truncate(session.path, PROOF_BYTES + 25)
    with pytest.raises(InvalidArgument) as caught:
        read(sessions, session.name, numbered([(PROOF_BYTES + offset, 10) for offset in (0, 10, 20, 30)]))
    assert caught.value.field == "payloads[2]"


def test_a_session_that_ends_while_it_is_read_is_read_to_its_end(
    sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.open(1 << 20)
    preadv = os.preadv

    def ended_meanwhile(*arguments: Any) -> int:
        sessions.sweep()
        assert sessions.num_sessions == 0
        return preadv(*arguments)

    monkeypatch.setattr(sessions_module, "_GRACE_S", 0.0)
    monkeypatch.setattr(os, "preadv", ended_meanwhile)
    assert read(sessions, session.name, [(PROOF_BYTES, 8, "payloads[0]")]) == [bytes(8)]


def test_an_unknown_session_is_refused(sessions: LocalSessions) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(sessions, "nobody", [])
    assert caught.value.field == "local_session"


def test_another_file_in_place_of_the_servers_is_refused(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    session.path.unlink()
    session.path.write_bytes(bytes(session.num_bytes))
    with pytest.raises(FileNotFoundError):
        staging(session)


def test_a_client_that_dies_gives_its_session_back(
    sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.open(1 << 20)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom memory_service.local.staging import Staging\n"
        "kept = Staging(Path(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3]))\n"
        "print('locked', flush=True)\ntime.sleep(60)"
    )
    arguments = [str(session.path), str(session.num_bytes), session.proof.hex()]
    client = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "locked\n"
    monkeypatch.setattr(sessions_module, "_GRACE_S", 0.0)
    sessions.sweep()
    assert session.path.exists()
    client.kill()
    client.wait()
    client.stdout.close()
    sessions.sweep()
    assert not session.path.exists()
    assert sessions.num_sessions == 0


def test_sessions_are_bounded(sessions: LocalSessions) -> None:
    kept = [staging(sessions.open(0)) for _ in range(2)]
    with pytest.raises(Overloaded) as caught:
        sessions.open(0)
    assert caught.value.retry_after_ms > 0
    for one in kept:
        one.close()


def test_the_next_server_removes_what_a_killed_one_left_and_nothing_of_one_that_lives(
    sessions: LocalSessions, tmp_path: Path
) -> None:
    lives = sessions.open(0)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom memory_service.local.sessions import LocalSessions\n"
        "print(LocalSessions(Path(sys.argv[1])).open(0).path, flush=True)\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False
    )
    left = Path(ended.stdout.strip())
    assert left.exists()
    after = LocalSessions(tmp_path)
    assert not left.parent.exists()
    assert lives.path.exists()
    after.close()


def test_a_session_that_nobody_holds_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "_GRACE_S", 0.1)
    made = LocalSessions(tmp_path, sweep_s=0.02)
    session = made.open(0)
    held = made.open(0)
    client = staging(held)
    until = time.monotonic() + 10
    while session.path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert held.path.exists()
    assert made.worker.alive
    client.close()
    made.close()
    assert not made.worker.alive


class TestReels:
    @pytest.fixture
    def reel(self, tmp_path: Path) -> Path:
        (tmp_path / "pool").mkdir()
        path = tmp_path / "pool" / "video.reel"
        path.write_bytes(bytes(range(256)))
        return path

    def extent(self, reel: Path, offset: int, length: int, path: str = "pool/video.reel") -> ReelExtent:
        return ReelExtent(path, reel.stat().st_ino, offset, length)

    def test_a_view_grows_with_the_file_and_outlives_it(self, tmp_path: Path, reel: Path) -> None:
        reels = MappedReels(tmp_path)
        first = reels.view(self.extent(reel, 10, 4))
        with reel.open("ab") as file:
            file.write(b"more")
        assert bytes(reels.view(self.extent(reel, 256, 4))) == b"more"
        reel.unlink()
        reels.close()
        assert bytes(first) == bytes([10, 11, 12, 13])

    def test_a_file_of_another_life_is_not_read(self, tmp_path: Path, reel: Path) -> None:
        old = self.extent(reel, 0, 4)
        aside = reel.with_name("aside")
        aside.write_bytes(b"other")
        aside.rename(reel)
        with pytest.raises(FileNotFoundError):
            MappedReels(tmp_path).view(old)

    def test_a_place_past_the_end_is_not_touched(self, tmp_path: Path, reel: Path) -> None:
        with pytest.raises(FileNotFoundError):
            MappedReels(tmp_path).view(self.extent(reel, 250, 10))

    @pytest.mark.parametrize("path", ["../x", "pool/../x", "/etc/passwd", ".lock", "pool/.pool", "pool", ""])
    def test_only_reels_can_be_named(self, tmp_path: Path, reel: Path, path: str) -> None:
        with pytest.raises(OSError):  # noqa: PT011 -- which one depends on the kernel
            MappedReels(tmp_path).view(self.extent(reel, 0, 1, path))

    def test_links_are_not_followed(self, tmp_path: Path, reel: Path) -> None:
        (tmp_path / "pool" / "link.reel").symlink_to(reel)
        with pytest.raises(OSError):  # noqa: PT011
            MappedReels(tmp_path).view(self.extent(reel, 0, 1, "pool/link.reel"))


def test_places_that_overlap_cannot_ask_for_more_than_there_is(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    places = [(PROOF_BYTES, 1 << 20, f"block.parts[0].local[{i}]") for i in range(40)]
    with pytest.raises(InvalidArgument) as caught:
        read(sessions, session.name, places)
    assert caught.value.field == "block.parts"


def test_a_staging_file_has_its_memory_from_the_start(sessions: LocalSessions) -> None:
    session = sessions.open(1 << 20)
    assert session.path.stat().st_blocks * 512 >= session.num_bytes


def test_no_memory_is_said_and_leaves_no_file(
    sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = sessions.open(0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Exhausted):
        sessions.open(0)
    assert list(kept.path.parent.iterdir()) == [kept.path]
    assert sessions.num_sessions == 1


def test_closed_reels_are_not_read(tmp_path: Path) -> None:
    reels = MappedReels(tmp_path)
    reels.close()
    with pytest.raises(FileNotFoundError):
        reels.view(ReelExtent("pool/video.reel", 1, 0, 1))
    reels.close()
