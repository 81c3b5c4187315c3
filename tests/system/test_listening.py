"""Where a server listens, and who may come there."""

import grp
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import error_of
from samples import KEY, SPEC
from serving import ServerProcess, command, without_privileges

from memory_service.cli.exit_codes import EXIT_CODES
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import Busy, InvalidArgument, PermissionDenied, Unauthenticated
from memory_service.security.token_file import create_token
from memory_service.server import Server
from memory_service.types import VideoKey
from memory_service.v1 import memory_pb2 as pb

INFO = pb.ServerInfoRequest()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    servers: list[Server] = []

    def start(address: str, **options: Any) -> Server:
        servers.append(Server(ServiceConfig(data_dir=tmp_path / "data", address=address, **options)))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_socket_is_its_owners(tmp_path: Path, serve: Any) -> None:
    before = os.umask(0)
    try:
        server = serve(f"unix:{tmp_path}/socket")
    finally:
        assert os.umask(before) == 0
    assert mode(tmp_path / "socket") == 0o600
    with grpc.insecure_channel(server.address) as channel:
        assert error_of(channel, "ServerInfo", INFO) is None


def test_a_socket_may_be_a_groups(tmp_path: Path, serve: Any) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    serve(f"unix:{tmp_path}/socket", socket_group=group)
    assert mode(tmp_path / "socket") == 0o660
    assert (tmp_path / "socket").stat().st_gid == os.getgid()


def test_a_group_that_is_none(tmp_path: Path, serve: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        serve(f"unix:{tmp_path}/socket", socket_group="no-such-group-here")
    assert caught.value.field == "socket_group"
    with pytest.raises(InvalidArgument):
        ServiceConfig(data_dir=tmp_path, address="127.0.0.1:0", socket_group="root")


def test_a_group_that_the_user_is_not_in(tmp_path: Path) -> None:
    mine = {os.getegid(), *os.getgroups()}
    group = next(group.gr_name for group in grp.getgrall() if group.gr_gid not in mine)
    serving = command(tmp_path / "data", f"unix:{tmp_path}/socket", "--socket-group", group)
    ended = subprocess.run([*without_privileges(), *serving], capture_output=True, text=True, timeout=60)
    assert ended.returncode == EXIT_CODES[InvalidArgument]
    assert f"the socket cannot be given to group '{group}'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("bits", "safe"), [(0o700, True), (0o755, True), (0o1777, True), (0o777, False), (0o770, False)]
)
def test_a_directory_in_which_others_may_replace_the_socket(
    tmp_path: Path, serve: Any, bits: int, *, safe: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(bits)
    if safe:
        serve(f"unix:{folder}/socket")
        return
    with pytest.raises(InvalidArgument, match="can replace the socket") as caught:
        serve(f"unix:{folder}/socket")
    assert caught.value.field == "address"
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_directory_of_another_user(tmp_path: Path, serve: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(InvalidArgument, match="user 12345"):
        serve(f"unix:{folder}/socket")


def test_a_directory_that_is_not_there(tmp_path: Path, serve: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        serve(f"unix:{tmp_path}/nowhere/socket")
    assert caught.value.field == "address"


def test_a_socket_that_is_used_is_left_alone(tmp_path: Path, serve: Any) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        with pytest.raises(Busy):
            serve(f"unix:{tmp_path}/socket")


def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path, serve: Any) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    server = serve(f"unix:{tmp_path}/socket")
    with grpc.insecure_channel(server.address) as channel:
        assert error_of(channel, "ServerInfo", INFO) is None


def test_a_client_with_its_token(tmp_path: Path, serve: Any) -> None:
    file = tmp_path / "tokens.json"
    token = create_token(file, "reader", {"mine": ["read"]}).text
    server = serve(f"unix:{tmp_path}/socket", tokens_file=file)
    with MemoryClient(server.address, token=token) as memory:
        assert memory.info().index == "flat"
        assert memory.list_videos("mine") == []
        with pytest.raises(PermissionDenied):
            memory.get_video(VideoKey("theirs", "video"))
    with MemoryClient(server.address) as memory, pytest.raises(Unauthenticated):
        memory.info()


def test_what_a_server_creates_is_nobody_elses(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as server:
        with MemoryClient(server.address) as memory:
            memory.create_video(KEY, SPEC)
        created = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(created) >= 4
    assert [path for path in created if mode(path) & 0o077] == []
