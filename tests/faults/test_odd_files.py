"""What may lie in place of a reel: the service refuses it, serves the others, and `verify` says why."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from injection import Call, Injector
from samples import ALL, KEY, SPEC, assert_frames, block, handle, latents, query
from serving import ServerProcess, without_privileges

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, NotFound, Unavailable
from memory_service.store.findings import Class, Finding, Part
from memory_service.types import Query, Span, VideoKey
from memory_service.verify import Position, verify

GOOD, SWAPPED = VideoKey("pool", "good"), VideoKey("pool", "swapped")
LENGTH = 9


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 9 frames after an orderly end."""
    made = tmp_path_factory.mktemp("closed") / "data"
    with_all = MemoryEngine(made)
    for key in (KEY, GOOD, SWAPPED):
        with_all.create_video(key, SPEC)
        for start in range(0, LENGTH, 3):
            with_all.append(key, block(start))
            with_all.search(key, [Query(2, ALL, frame=start)])
    with_all.close()
    return made


@pytest.fixture
def data_dir(closed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(closed, tmp_path / "data"))


def reel(data_dir: Path, key: VideoKey = KEY) -> Path:
    return data_dir / key.pool / f"{key.video}.reel"


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.rename(path.parents[2] / "elsewhere")
    path.symlink_to(path.parents[2] / "elsewhere")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def socket_file(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.write_bytes(b"\xffnot a reel" * 1000)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def swapped(path: Path) -> None:
    other = path.with_name("swapped.reel")
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def connect(server: ServerProcess) -> MemoryClient:
    return MemoryClient(server.address, timeout_s=1)


NO_FILE = [(Class.DAMAGE, Part.FILE)]
ODD: dict[Callable[[Path], None], list[tuple[Class, Part]]] = {
    folder: NO_FILE,
    link: NO_FILE,
    link_to_nothing: NO_FILE,
    fifo: NO_FILE,
    socket_file: NO_FILE,
    empty: [(Class.DAMAGE, Part.MISSING)],
    zeros: [(Class.DAMAGE, Part.MISSING)],
    garbage: [(Class.DAMAGE, Part.PREFIX)],
    swapped: [(Class.DAMAGE, Part.NAME)] * 2,
}


def classes(findings: tuple[Finding, ...]) -> list[tuple[Class, Part]]:
    return [(finding.kind, finding.part) for finding in findings]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_what_is_no_reel_is_refused_and_told(data_dir: Path, make: Callable[[Path], None]) -> None:
    make(reel(data_dir))
    report = verify(data_dir)
    assert classes(report.findings) == ODD[make]
    assert {finding.video for finding in report.findings} <= {KEY.video, SWAPPED.video}
    assert not report.clean
    with ServerProcess(data_dir) as server, MemoryClient(server.address, timeout_s=5) as memory:
        for call in (
            lambda: memory.append(KEY, block(LENGTH)),
            lambda: memory.search(KEY, [query(like=1)]),
            lambda: memory.get_video(KEY),
            lambda: memory.create_video(KEY, SPEC),
        ):
            with pytest.raises(DataLoss) as error:
                call()
            assert error.value.expected
        listed = [info.key.video for info in memory.list_videos("pool")]
        assert listed == [GOOD.video] if make is swapped else [GOOD.video, SWAPPED.video]
        assert_frames(memory, 0, LENGTH, GOOD)
        memory.append(GOOD, block(LENGTH), sync=True)
    assert "Traceback" not in server.log.read_text()
    assert classes(verify(data_dir).findings) == ODD[make]


def test_a_reel_cut_in_half_is_told_with_what_is_left(data_dir: Path) -> None:
    """The marks went with the records: what is left cannot prove that more was durable than stands there."""
    halved(reel(data_dir))
    (finding,) = verify(data_dir).findings
    assert (finding.kind, finding.part, finding.video) == (Class.TORN_TAIL, Part.MISSING, KEY.video)
    assert finding.intact > 0
    assert finding.offset is not None
    assert finding.offset < reel(data_dir).stat().st_size


def test_permission_denied_is_unavailable_until_it_is_given(data_dir: Path) -> None:
    reel(data_dir).chmod(0)
    server = ServerProcess(data_dir, prefix=without_privileges())
    with server, connect(server) as memory:
        with pytest.raises(Unavailable) as error:
            memory.append(KEY, block(LENGTH))
        assert error.value.details["errno"] == "EACCES"
        assert "permission" in error.value.expected
        memory.append(GOOD, block(LENGTH), sync=True)
        told = subprocess.run(
            [*without_privileges(), sys.executable, "-c", TELL, data_dir],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == f"unreadable {KEY.video} Permission denied\n"
        reel(data_dir).chmod(0o644)
        memory.append(KEY, block(LENGTH), sync=True)
        assert_frames(memory, 0, LENGTH + 3)


TELL = """
import sys
from memory_service.verify import verify
for finding in verify(sys.argv[1]).findings:
    print(finding.kind, finding.video, finding.message)
"""


def test_what_is_not_the_memorys_is_told_and_left_alone(data_dir: Path) -> None:
    pool = data_dir / "pool"
    (data_dir / "notes.txt").write_text("mine")
    (data_dir / "linked").symlink_to(pool)
    (data_dir / ".hidden").mkdir()
    (pool / "backup.reel.gz").write_bytes(b"mine")
    (pool / "not an id.reel").write_bytes(b"mine")
    (pool / ".hidden.reel").write_bytes(b"mine")
    (pool / "folder").mkdir()
    (pool / f".{'0a' * 16}.new").write_bytes(b"left")
    report = verify(data_dir)
    told = {finding.path.name: finding.kind for finding in report.findings}
    assert told.pop(f".{'0a' * 16}.new") is Class.ORPHAN
    assert told == dict.fromkeys(
        ["notes.txt", "linked", ".hidden", "backup.reel.gz", "not an id.reel", ".hidden.reel", "folder"],
        Class.FOREIGN,
    )
    assert report.clean
    with ServerProcess(data_dir) as server, MemoryClient(server.address) as memory:
        assert len(memory.list_videos("pool")) == 3
        assert_frames(memory, 0, LENGTH)
    assert (pool / "not an id.reel").read_bytes() == b"mine"


def test_a_verification_beside_a_busy_server_finds_nothing(tmp_path: Path) -> None:
    keys = [VideoKey("pool", f"video-{number}") for number in range(3)]
    with ServerProcess(tmp_path / "data") as server, MemoryClient(server.address) as memory:
        for key in keys:
            memory.create_video(key, SPEC)
        starts = dict.fromkeys(keys, 0)
        seen: list[Position] = []

        def write(position: Position) -> None:
            seen.append(position)
            for key in keys if len(seen) < 300 else ():
                memory.append(key, block(starts[key]))
                starts[key] += 3

        write(Position(tmp_path, 0, 0))
        for _ in range(3):
            report = verify(tmp_path / "data", progress=write)
            assert report.findings == ()
            assert report.videos == 3
        assert max(position.bytes for position in seen) > 1000


def test_a_read_error_is_unavailable_until_reading_works(injector: Injector, data_dir: Path) -> None:
    rule = injector.fail(Call.PREAD, errno.EIO, str(reel(data_dir)))
    environment = dict(injector.environment)
    with ServerProcess(data_dir, env=environment) as server, connect(server) as memory:
        with pytest.raises(Unavailable) as error:
            memory.append(KEY, block(LENGTH))
        assert error.value.details["errno"] == "EIO"
        assert "disk" in error.value.expected
        assert_frames(memory, 0, LENGTH, GOOD)
        assert rule.fired > 0
        injector.clear()
        memory.append(KEY, block(LENGTH), sync=True)
        assert_frames(memory, 0, LENGTH + 3)
    assert "Traceback" not in server.log.read_text()


def test_progress_and_totals(data_dir: Path) -> None:
    seen: list[Position] = []
    report = verify(data_dir, seen.append)
    sizes = [reel(data_dir, key).stat().st_size for key in (KEY, GOOD, SWAPPED)]
    assert (report.videos, report.frames, report.bytes) == (3, 3 * LENGTH, sum(sizes))
    assert report.clean
    assert seen[-1].bytes == sum(sizes)
    assert [p.bytes for p in seen] == sorted(p.bytes for p in seen)
    assert {p.path for p in seen} == {reel(data_dir, key) for key in (KEY, GOOD, SWAPPED)}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize("left", [0, 100, 2000])
def test_a_reel_that_is_cut_while_it_is_in_use_ends_its_video_and_not_the_server(
    data_dir: Path, left: int
) -> None:
    """Its pages are mapped: to touch one that is gone would kill the process."""
    with ServerProcess(data_dir) as server, connect(server) as memory:
        assert_frames(memory, 0, LENGTH)
        os.truncate(reel(data_dir), left)
        for call in (
            lambda: memory.fetch([handle(memory, 1)]),
            lambda: memory.search(KEY, [query(like=1)]),
            lambda: memory.append(KEY, block(LENGTH)),
            lambda: memory.retrievals(KEY),
        ):
            with pytest.raises(DataLoss, match="was cut"):
                call()
        assert_frames(memory, 0, LENGTH, GOOD)
        memory.append(GOOD, block(LENGTH), sync=True)
        memory.drop_video(KEY)
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0), sync=True)
    assert "Traceback" not in server.log.read_text()


def test_bytes_that_change_while_they_are_in_use_are_never_returned(data_dir: Path) -> None:
    with ServerProcess(data_dir) as server, connect(server) as memory:
        memory.append(GOOD, block(LENGTH), sync=True)
        one, other = handle(memory, 1), handle(memory, 4)
        memory.search(KEY, [query(like=1)])
        data = reel(data_dir).read_bytes()
        at = data.index(latents(1, 1)[0])
        with reel(data_dir).open("r+b") as file:
            file.seek(at + 5)
            file.write(bytes([data[at + 5] ^ 1]))
        with pytest.raises(DataLoss):
            memory.fetch([one])
        assert bytes(memory.fetch([other])[0].parts["latent"]) == latents(4, 1)[0]
        assert_frames(memory, 0, LENGTH, GOOD)
    assert [(f.part, f.frames) for f in verify(data_dir).findings] == [(Part.BODY, (Span(1, 2),))]
