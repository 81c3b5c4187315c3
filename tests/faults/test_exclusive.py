"""One process per data directory and per address: the second one says so and changes nothing."""

import signal
import subprocess
from pathlib import Path

import pytest
from samples import KEY, SPEC, assert_frames, block
from serving import ServerProcess, command

from memory_service.client import MemoryClient


def start(data_dir: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected to give up."""
    return subprocess.run(
        command(data_dir, address, *arguments), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:"])
class TestSecondServer:
    def test_on_the_same_data(self, tmp_path: Path, address: str) -> None:
        first = address if address != "unix:" else f"unix:{tmp_path}/one"
        second = address if address != "unix:" else f"unix:{tmp_path}/two"
        with ServerProcess(tmp_path / "data", first) as server, MemoryClient(server.address) as memory:
            memory.create_video(KEY, SPEC)
            memory.append(KEY, block(0))
            refused = start(tmp_path / "data", second)
            assert refused.returncode == 4
            assert str(tmp_path / "data") in refused.stderr
            assert "Traceback" not in refused.stderr
            assert refused.stdout == ""
            assert_frames(memory, 0, 3)

    def test_on_the_same_address(self, tmp_path: Path, address: str) -> None:
        first = address if address != "unix:" else f"unix:{tmp_path}/socket"
        with ServerProcess(tmp_path / "data", first) as server, MemoryClient(server.address) as memory:
            refused = start(tmp_path / "other", server.address)
            assert refused.returncode == 4
            assert server.address in refused.stderr
            assert "Traceback" not in refused.stderr
            assert memory.info().version
            assert memory.list_videos("pool") == []


@pytest.mark.parametrize("link", ["data", "above"])
def test_another_way_to_the_same_directory_is_no_way_around(tmp_path: Path, link: str) -> None:
    (tmp_path / "above").mkdir()
    data_dir = tmp_path / "above" / "data"
    (tmp_path / "link").symlink_to(data_dir if link == "data" else tmp_path / "above")
    other = tmp_path / "link" if link == "data" else tmp_path / "link" / "data"
    with ServerProcess(data_dir) as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        refused = start(other, "127.0.0.1:0")
        assert refused.returncode == 4
        assert str(server.pid) in refused.stderr
        memory.append(KEY, block(0))
        assert_frames(memory, 0, 3)
    with ServerProcess(other) as server, MemoryClient(server.address) as memory:
        assert_frames(memory, 0, 3)


def test_a_first_server_that_stands_still_keeps_its_directory(tmp_path: Path) -> None:
    """A lock that a timeout could break would let two servers write one reel."""
    with ServerProcess(tmp_path / "data") as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        server.send(signal.SIGSTOP)
        assert start(tmp_path / "data", "127.0.0.1:0").returncode == 4
        server.send(signal.SIGCONT)
        memory.append(KEY, block(3))
        assert_frames(memory, 0, 6)


def test_a_lock_file_left_by_a_crash_locks_nobody_out(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as first:
        first.kill()
        assert (tmp_path / "data" / ".lock").read_text().strip() == str(first.pid)
        with ServerProcess(tmp_path / "data") as second, MemoryClient(second.address) as memory:
            memory.create_video(KEY, SPEC)
            assert (tmp_path / "data" / ".lock").read_text().strip() == str(second.pid)


def test_a_socket_left_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    ServerProcess(tmp_path / "data", address).kill()
    assert (tmp_path / "socket").exists()
    with ServerProcess(tmp_path / "data", address), MemoryClient(address) as memory:
        assert memory.info().hot_videos == 0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:0", "example.org:50051"])
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, address: str) -> None:
    refused = start(tmp_path / "data", address)
    assert refused.returncode == 2
    assert "--insecure-any-address" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_an_address_that_others_can_reach_can_be_insisted_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "0.0.0.0:0", "--insecure-any-address") as server:
        port = server.address.rpartition(":")[2]
        with MemoryClient(f"127.0.0.1:{port}") as memory:
            assert memory.info().index == "flat"


def test_an_unknown_index_is_refused(tmp_path: Path) -> None:
    refused = start(tmp_path / "data", "127.0.0.1:0", "--index", "nearest")
    assert refused.returncode == 2
    assert "nearest" in refused.stderr
