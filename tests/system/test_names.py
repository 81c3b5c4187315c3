"""No name that a caller can give leads out of the data directory, nor to anything that is not its video."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import call, error_of
from samples import KEY, SPEC, block, state

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, InvalidArgument, ServiceError, Unavailable
from memory_service.server import Server
from memory_service.types import PoolSpec, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk

NAMES = [
    "",
    ".",
    "..",
    "...",
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "x/..",
    "x/../../y",
    "a/b",
    "a\\b",
    "%2e%2e",
    "%2e%2e%2fx",
    "..%2fx",
    "x%00",
    "a\0b",
    "a\0",
    "a\n",
    "a\r",
    " a",
    "a ",
    "a\t",
    ".lock",
    ".pool",
    ".hidden",
    "-rf",
    "_x",
    "~root",
    "$HOME",
    "*",
    "a:b",
    "x" * 129,
    "x" * 5000,
    "caf\u00e9",
    "cafe\u0301",
    "\uff41",  # fullwidth a
    "\u0430",  # Cyrillic a
    "a\u200b",
    "a\u202e",
    "\u2024\u2024",  # one dot leaders
    "\uff0e\uff0e\uff0fx",  # fullwidth dots and slash
    "a\u2215b",
    "\u0661",  # an Arabic digit
    "\ufeffa",
]

FINE = ["a", "A", "0", "a.", "a..", "a..b", "con", "x" * 128, "a.reel", "a.1f.base0", "a-_.b", "a.new"]
"""Odd, and within the rule: each is a video of its own."""

REQUESTS: dict[str, Callable[[Any], Any]] = {
    "CreatePool": lambda key: pb.CreatePoolRequest(pool=key.pool, spec=pb.PoolSpec()),
    "GetPool": lambda key: pb.GetPoolRequest(pool=key.pool),
    "UpdatePool": lambda key: pb.UpdatePoolRequest(pool=key.pool, spec=pb.PoolSpec()),
    "DropPool": lambda key: pb.DropPoolRequest(pool=key.pool, with_videos=True),
    "CreateVideo": lambda key: pb.CreateVideoRequest(key=key, spec=wire.spec_to_proto(SPEC)),
    "GetVideo": lambda key: pb.GetVideoRequest(key=key),
    "ListVideos": lambda key: pb.ListVideosRequest(pool=key.pool),
    "DropVideo": lambda key: pb.DropVideoRequest(key=key),
    "Append": lambda key: pb.AppendRequest(key=key, block=block_message()),
    "AppendStream": lambda key: pb.AppendStreamRequest(key=key, block=block_message()),
    "Search": lambda key: pb.SearchRequest(key=key, queries=[query_message()]),
    "Search in scope": lambda key: pb.SearchRequest(
        key=wire.key_to_proto(KEY), queries=[query_message()], scope=pb.Scope(videos=[pb.ScopeVideo(key=key)])
    ),
    "Fetch": lambda key: pb.FetchRequest(handles=[pb.Handle(key=key, epoch=1)]),
    "Advance": lambda key: pb.AdvanceRequest(key=key, block=block_message(), query=query_message()),
    "AdvanceStream": lambda key: pb.AdvanceRequest(key=key, block=block_message(), query=query_message()),
    "ForkVideo": lambda key: pb.ForkVideoRequest(parent=wire.key_to_proto(KEY), key=key),
    "ForkVideo from": lambda key: pb.ForkVideoRequest(parent=key, key=pb.VideoKey(pool="pool", video="new")),
    "TruncateVideo": lambda key: pb.TruncateVideoRequest(key=key),
    "SealVideo": lambda key: pb.SealVideoRequest(key=key),
    "Heartbeat": lambda key: pb.HeartbeatRequest(keys=[key]),
    "ExportVideo": lambda key: pb.ExportVideoRequest(key=key),
    "ImportVideo": lambda key: pb.ImportVideoRequest(key=key),
    "Watch": lambda key: pb.WatchRequest(pool=key.pool, video=key.video),
    "ListRetrievals": lambda key: pb.ListRetrievalsRequest(key=key),
}
"""Every call that names a pool or a video, with every field that does."""

OF_POOLS = {"CreatePool", "GetPool", "UpdatePool", "DropPool", "ListVideos"}


def block_message() -> pb.Block:
    message = pb.Block()
    bulk.put_block(block(3), message)
    return message


def query_message() -> pb.Query:
    return pb.Query(k=1, eligible=pb.Span(stop=3), frame=0)


def files(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, grpc.Channel]]:
    """A folder in which the data directory lies, and a channel to its server."""
    folder = tmp_path_factory.mktemp("house")
    server = Server(ServiceConfig(data_dir=folder / "data", address="127.0.0.1:0"))
    server.engine.create_video(KEY, SPEC)
    server.engine.append(KEY, block(0))
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        yield folder, channel
    server.stop()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_are_none(house: tuple[Path, grpc.Channel], name: str) -> None:
    folder, channel = house
    before = files(folder)
    for case, request in REQUESTS.items():
        keys = [pb.VideoKey(pool=name, video="video")]
        if case not in OF_POOLS and not (case == "Watch" and not name):
            keys.append(pb.VideoKey(pool="pool", video=name))
        for key in keys:
            error = error_of(channel, case.split()[0], request(key))
            assert type(error) is InvalidArgument, (case, error)
            assert error.field.endswith(("pool", "video")), (case, error)
    assert files(folder) == before


@pytest.mark.parametrize("name", FINE)
def test_odd_names_that_are_fine(house: tuple[Path, grpc.Channel], name: str) -> None:
    folder, channel = house
    key = pb.VideoKey(pool=name, video=name)
    call(channel, "CreateVideo", pb.CreateVideoRequest(key=key, spec=wire.spec_to_proto(SPEC)))
    assert (folder / "data" / name / f"{name}.reel").is_file()
    (page,) = call(channel, "ListVideos", pb.ListVideosRequest(pool=name))
    assert [video.key.video for video in page.videos] == [name]
    call(channel, "DropPool", pb.DropPoolRequest(pool=name, with_videos=True))
    assert not (folder / "data" / name).exists()


def test_names_that_differ_in_case_are_two_videos(house: tuple[Path, grpc.Channel]) -> None:
    _, channel = house
    for video in ("case", "CASE"):
        key = pb.VideoKey(pool="cases", video=video)
        call(channel, "CreateVideo", pb.CreateVideoRequest(key=key, spec=wire.spec_to_proto(SPEC)))
    (page,) = call(channel, "ListVideos", pb.ListVideosRequest(pool="cases"))
    assert [video.key.video for video in page.videos] == ["CASE", "case"]


def test_bytes_that_are_no_text_are_no_name(house: tuple[Path, grpc.Channel]) -> None:
    _, channel = house
    ask = channel.unary_unary("/memory_service.v1.MemoryService/GetVideo", bytes, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"\x0a\x04\x0a\x02\xff\xfe", timeout=20)  # key { pool: bytes that are no UTF-8 }
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemoryEngine]:
    engine = MemoryEngine(tmp_path / "data")
    engine.create_video(KEY, SPEC)
    engine.append(KEY, block(0))
    yield engine
    engine.close()


WAYS: dict[str, Callable[[MemoryEngine, VideoKey], object]] = {
    "create": lambda engine, key: engine.create_video(key, SPEC),
    "get": lambda engine, key: engine.get_video(key),
    "append": lambda engine, key: engine.append(key, block(0)),
    "fork": lambda engine, key: engine.fork_video(KEY, key),
    "import": lambda engine, key: engine.import_video(key, list(engine.export_video(KEY))),
    "drop": lambda engine, key: engine.drop_video(key),
    "update pool": lambda engine, key: engine.update_pool(key.pool, PoolSpec(1, 1, 1)),
    "create pool": lambda engine, key: engine.create_pool(key.pool, PoolSpec(1, 1, 1)),
    "drop pool": lambda engine, key: engine.drop_pool(key.pool, with_videos=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pool_that_is_a_link_is_not_followed(memory: MemoryEngine, tmp_path: Path, way: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "data" / "pool" / "video.reel", elsewhere / "video.reel")
    (tmp_path / "data" / "linked").symlink_to(elsewhere)
    before = files(elsewhere), (elsewhere / "video.reel").read_bytes()
    with pytest.raises(ServiceError):
        WAYS[way](memory, VideoKey("linked", "video"))
    assert (files(elsewhere), (elsewhere / "video.reel").read_bytes()) == before
    assert "linked" not in {pool.pool for pool in memory.list_pools()}


@pytest.mark.parametrize("way", ["get", "append", "drop"])
def test_a_reel_that_is_a_link_is_not_followed(memory: MemoryEngine, tmp_path: Path, way: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"nobody's business")
    (tmp_path / "data" / "pool" / "linked.reel").symlink_to(secret)
    linked = VideoKey("pool", "linked")
    if way == "drop":  # takes the link away, not what it leads to
        memory.drop_video(linked)
    else:
        with pytest.raises((DataLoss, Unavailable)) as caught:
            WAYS[way](memory, linked)
        assert "nobody" not in str(caught.value)
    assert secret.read_bytes() == b"nobody's business"
    assert state(memory).length == 3


def test_the_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"nobody's business")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".lock").symlink_to(secret)
    with pytest.raises(ServiceError):
        MemoryEngine(tmp_path / "data")
    assert secret.read_bytes() == b"nobody's business"
