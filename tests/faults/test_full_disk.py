"""File systems that are full, bounded or read-only: really so, not as told by an injector."""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import KEY, SPEC, assert_frames, block, query, state
from serving import ServerProcess, command, without_privileges

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.errors import Exhausted, Unavailable
from memory_service.types import Block, VideoKey
from memory_service.verify import verify

NEW = VideoKey("pool", "new")
SMALL_BYTES = 12 << 20
PART_BYTES = 200_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(memory: MemoryClient, key: VideoKey) -> int:
    """Append until the disk is full; the number of frames that were acknowledged."""
    length = 0
    while True:
        try:
            length = memory.append(key, large(length)).state.length
        except Exhausted as full:
            error = full
            break
    assert error.details["errno"] in {"ENOSPC", "EFBIG"}
    assert error.expected
    return length


def large(start: int) -> Block:
    return block(start, preview=[bytes([start % 251]) * PART_BYTES] * 3)


def test_a_full_disk_refuses_appends_and_nothing_else(small_disk: Path, tmp_path: Path) -> None:
    data_dir, log = small_disk / "data", tmp_path / "server.log"
    with ServerProcess(data_dir, log=log) as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        length = fill(memory, KEY)
        assert length > 9
        with pytest.raises(Exhausted):
            memory.append(KEY, large(length))
        assert_frames(memory, 0, length)
        before = memory.search(KEY, [query(k=5, like=2)])
        server.kill()
        with ServerProcess(data_dir, log=log) as again, MemoryClient(again.address) as anew:
            assert anew.search(KEY, [query(k=5, like=2)]).hits == before.hits
            assert state(anew).length == length
            assert_frames(anew, 0, length)
            assert not verify(data_dir).findings
            anew.create_video(NEW, SPEC)
            anew.drop_video(KEY)
            until = time.monotonic() + 10  # a commit that is due holds the reel for its interval
            while fill(anew, NEW) <= 9:
                assert time.monotonic() < until, "what was dropped is not free again"
                time.sleep(0.05)
            assert_frames(anew, 0, 3, NEW)
    assert "Traceback" not in log.read_text()


def test_a_limit_on_the_size_of_files_refuses_appends(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        length = fill(memory, KEY)
        assert_frames(memory, 0, length)
    assert "Traceback" not in server.log.read_text()
    reopened = MemoryEngine(tmp_path / "data")
    assert state(reopened).length == length
    assert_frames(reopened, 0, length)
    reopened.close()
    assert verify(tmp_path / "data").findings == ()


def test_a_read_only_file_system_is_refused_with_its_reason(small_disk: Path) -> None:
    memory = MemoryEngine(small_disk / "data")
    memory.create_video(KEY, SPEC)
    memory.append(KEY, block(0))
    memory.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = subprocess.run(
        command(small_disk / "data", "127.0.0.1:0"), capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 5
    assert "mounted for writing" in refused.stderr
    assert "Traceback" not in refused.stderr
    reader = MemoryEngine.open_read_only(small_disk / "data")
    assert_frames(reader, 0, 3)
    reader.close()
    assert verify(small_disk / "data").findings == ()


def test_a_directory_without_write_permission_still_takes_frames(tmp_path: Path) -> None:
    """Videos that are there can be written; creating and dropping say what is missing."""
    data_dir = tmp_path / "data"
    memory = MemoryEngine(data_dir)
    memory.create_video(KEY, SPEC)
    memory.close()
    (data_dir / KEY.pool).chmod(0o555)
    server = ServerProcess(data_dir, prefix=without_privileges())
    with server, MemoryClient(server.address, timeout_s=1) as client:
        assert client.append(KEY, block(0), sync=True).state.durable == 3
        for call in (lambda: client.create_video(NEW, SPEC), lambda: client.drop_video(KEY)):
            with pytest.raises(Unavailable) as error:
                call()
            assert error.value.details["errno"] == "EACCES"
            assert "permission" in error.value.expected
        assert_frames(client, 0, 3)
    assert "Traceback" not in server.log.read_text()
