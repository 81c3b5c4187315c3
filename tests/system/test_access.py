"""Who may do what: every RPC, by every kind of caller, over a real server."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import bearer, call, error_of, first_answer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from raw_requests import METHODS
from samples import SPEC, block, embeddings

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.errors import NotFound, PermissionDenied, ServiceError, Unauthenticated
from memory_service.security.access import RULES
from memory_service.security.token_file import create_token, revoke_token
from memory_service.server import Server
from memory_service.types import PoolSpec, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk
from memory_service.wire.status import from_rpc_error

MINE, THEIRS = "mine", "theirs"
VIDEO = VideoKey(MINE, "video")
RIGHTS = ("read", "write", "admin")

NEEDS: dict[str, tuple[str, ...]] = {
    "CreatePool": ("admin",),
    "GetPool": ("read",),
    "ListPools": (),
    "UpdatePool": ("admin",),
    "DropPool": ("admin",),
    "CreateVideo": ("write",),
    "GetVideo": ("read",),
    "ListVideos": ("read",),
    "DropVideo": ("admin",),
    "Append": ("write",),
    "AppendStream": ("write",),
    "Search": ("read",),
    "Fetch": ("read",),
    "Advance": ("read", "write"),
    "AdvanceStream": ("read", "write"),
    "ForkVideo": ("read", "write"),
    "TruncateVideo": ("write",),
    "SealVideo": ("write",),
    "Heartbeat": ("write",),
    "ExportVideo": ("read",),
    "ImportVideo": ("write",),
    "Watch": ("read",),
    "OpenLocal": ("admin on every pool",),
    "ListRetrievals": ("read",),
    "ServerInfo": (),
}
"""The rights in the pool MINE that a call about that pool needs, as the contract's prose has them."""

CALLERS: dict[str, tuple[str, ...] | None] = {
    "nobody": None,
    "unknown": None,
    "expired": None,
    "revoked": None,
    "malformed": None,
    **{right: (right,) for right in RIGHTS},
    "read+write": ("read", "write"),
    "all rights": RIGHTS,
    "all rights elsewhere": (),
}
"""Kinds of callers: their rights in MINE, or None for those without a valid token."""


@dataclass(frozen=True)
class Place:
    """A server with tokens, and what its callers say who they are."""

    server: Server
    channel: grpc.Channel
    tokens: dict[str, str | None]
    file: Path

    def refusal(self, method: str, caller: str) -> ServiceError | None:
        return error_of(self.channel, method, *self.requests(method), token=self.tokens[caller])

    def prepare(self) -> None:
        """Pool MINE with one video of three frames, as if nobody had called before."""
        engine = self.server.engine
        for info in engine.list_videos(MINE):
            engine.drop_video(info.key)
        engine.create_video(VIDEO, SPEC)
        engine.append(VIDEO, block(0))

    @property
    def videos(self) -> list[tuple[VideoKey, int, int, bool]]:
        """What is in MINE."""
        found = self.server.engine.list_videos(MINE)
        return [(info.key, info.state.epoch, info.state.length, info.sealed) for info in found]

    def requests(self, method: str) -> list[Any]:
        """A call about pool MINE that succeeds for whoever may make it."""
        epoch = self.server.engine.get_video(VIDEO).state.epoch
        key, other = wire.key_to_proto(VIDEO), pb.VideoKey(pool=MINE, video="another")
        handle = pb.Handle(key=key, epoch=epoch, frame=0)
        query = pb.Query(k=1, eligible=pb.Span(stop=3), frame=0)
        frames = pb.Block()
        bulk.put_block(block(3), frames)
        spec = wire.spec_to_proto(SPEC)
        pool = pb.PoolSpec()
        if method == "ImportVideo":
            reel = b"".join(self.server.engine.export_video(VIDEO))
            return [pb.ImportVideoRequest(key=other), pb.ImportVideoRequest(data=reel)]
        return [
            {
                "CreatePool": lambda: pb.CreatePoolRequest(pool=MINE, spec=pool),
                "GetPool": lambda: pb.GetPoolRequest(pool=MINE),
                "ListPools": lambda: pb.ListPoolsRequest(),
                "UpdatePool": lambda: pb.UpdatePoolRequest(pool=MINE, spec=pool),
                "DropPool": lambda: pb.DropPoolRequest(pool=MINE, with_videos=True),
                "CreateVideo": lambda: pb.CreateVideoRequest(key=other, spec=spec),
                "GetVideo": lambda: pb.GetVideoRequest(key=key),
                "ListVideos": lambda: pb.ListVideosRequest(pool=MINE),
                "DropVideo": lambda: pb.DropVideoRequest(key=key),
                "Append": lambda: pb.AppendRequest(key=key, block=frames),
                "AppendStream": lambda: pb.AppendStreamRequest(key=key, block=frames),
                "Search": lambda: pb.SearchRequest(key=key, queries=[query]),
                "Fetch": lambda: pb.FetchRequest(handles=[handle]),
                "Advance": lambda: pb.AdvanceRequest(key=key, block=frames, query=query),
                "AdvanceStream": lambda: pb.AdvanceRequest(key=key, block=frames, query=query),
                "ForkVideo": lambda: pb.ForkVideoRequest(parent=key, key=other),
                "TruncateVideo": lambda: pb.TruncateVideoRequest(key=key, length=1),
                "SealVideo": lambda: pb.SealVideoRequest(key=key),
                "Heartbeat": lambda: pb.HeartbeatRequest(keys=[key]),
                "ExportVideo": lambda: pb.ExportVideoRequest(key=key),
                "Watch": lambda: pb.WatchRequest(pool=MINE),
                "OpenLocal": lambda: pb.OpenLocalRequest(staging_bytes=1 << 20),
                "ListRetrievals": lambda: pb.ListRetrievalsRequest(key=key),
                "ServerInfo": lambda: pb.ServerInfoRequest(),
            }[method]()
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("access")
    file = folder / "tokens.json"
    tokens: dict[str, str | None] = {
        "nobody": None,
        "unknown": "rvr_unknown_" + "0" * 64,
        "malformed": "letmein",
    }
    past = "2020-01-01T00:00:00Z"
    tokens["expired"] = create_token(file, "expired", {MINE: RIGHTS}, expires=past).text
    tokens["revoked"] = create_token(file, "revoked", {"*": RIGHTS}).text
    for number, (caller, rights) in enumerate(CALLERS.items()):
        if rights:
            tokens[caller] = create_token(file, f"caller-{number}", {MINE: rights}).text
    tokens["all rights elsewhere"] = create_token(file, "elsewhere", {"other": RIGHTS}).text
    tokens["master"] = create_token(file, "master", {"*": RIGHTS}).text
    tokens["read mine, write theirs"] = create_token(file, "rw", {MINE: ["read"], THEIRS: ["write"]}).text
    server = Server(
        ServiceConfig(data_dir=folder / "data", address="127.0.0.1:0", tokens_file=file, local_path=True)
    )
    server.engine.create_pool(MINE, PoolSpec())
    server.engine.create_video(VideoKey(THEIRS, "video"), SPEC)
    server.start()
    revoke_token(file, "revoked")
    assert server.reload()
    with grpc.insecure_channel(server.address) as channel:
        yield Place(server, channel, tokens, file)
    server.stop()


def test_every_rpc_has_a_rule_and_a_row() -> None:
    assert set(RULES) == set(METHODS) == set(NEEDS)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("method", sorted(NEEDS))
def test_who_may_do_what(place: Place, method: str, caller: str) -> None:
    place.prepare()
    before = place.videos
    error = place.refusal(method, caller)
    rights = CALLERS[caller]
    missing = [right for right in NEEDS[method] if right not in (rights or ())]
    if rights is None:
        assert type(error) is Unauthenticated
        assert error.field == "authorization"
    elif missing:
        assert type(error) is PermissionDenied
        assert error.details["right"] == missing[0].split()[0]
        assert error.details["pool"] == ("*" if "every pool" in missing[0] else MINE)
    else:
        assert error is None
        return
    assert place.videos == before, "a refused call changed something"


@pytest.mark.parametrize("method", sorted(NEEDS))
def test_a_token_for_every_pool_is_one_for_this_pool(place: Place, method: str) -> None:
    place.prepare()
    assert place.refusal(method, "master") is None


@pytest.mark.parametrize("pool", [THEIRS, "nowhere"])
def test_a_refusal_does_not_tell_whether_the_pool_exists(place: Place, pool: str) -> None:
    request = pb.GetVideoRequest(key=pb.VideoKey(pool=pool, video="video"))
    error = error_of(place.channel, "GetVideo", request, token=place.tokens["read"])
    assert type(error) is PermissionDenied
    assert str(error) == (
        f"the token does not give the right read in pool '{pool}'; field: key.pool;"
        f" expected: a token with read in pool '{pool}'"
    )


def foreign_key() -> pb.VideoKey:
    return pb.VideoKey(pool=THEIRS, video="video")


CROSSING = {
    "Fetch": (pb.FetchRequest, "handles[1].key.pool"),
    "Search": (pb.SearchRequest, "scope.videos[0].key.pool"),
    "Heartbeat": (pb.HeartbeatRequest, "keys[1].pool"),
    "ForkVideo into": (pb.ForkVideoRequest, "key.pool"),
    "ForkVideo from": (pb.ForkVideoRequest, "parent.pool"),
}


@pytest.mark.parametrize("case", CROSSING)
def test_a_call_needs_its_right_in_every_pool_that_it_names(place: Place, case: str) -> None:
    place.prepare()
    mine, theirs = wire.key_to_proto(VIDEO), foreign_key()
    requests = {
        "Fetch": pb.FetchRequest(handles=[pb.Handle(key=mine), pb.Handle(key=theirs)]),
        "Search": pb.SearchRequest(
            key=mine,
            queries=[pb.Query(k=1, eligible=pb.Span(stop=3), frame=0)],
            scope=pb.Scope(videos=[pb.ScopeVideo(key=theirs)]),
        ),
        "Heartbeat": pb.HeartbeatRequest(keys=[mine, theirs]),
        "ForkVideo into": pb.ForkVideoRequest(parent=mine, key=pb.VideoKey(pool=THEIRS, video="new")),
        "ForkVideo from": pb.ForkVideoRequest(parent=theirs, key=pb.VideoKey(pool=MINE, video="new")),
    }
    method, token = case.split()[0], place.tokens["all rights"]
    error = error_of(place.channel, method, requests[case], token=token)
    assert type(error) is PermissionDenied
    assert (error.field, error.details["pool"]) == (CROSSING[case][1], THEIRS)


def test_a_fork_reads_here_and_writes_there(place: Place) -> None:
    place.prepare()
    request = pb.ForkVideoRequest(parent=wire.key_to_proto(VIDEO), key=pb.VideoKey(pool=THEIRS, video="fork"))
    token = place.tokens["read mine, write theirs"]
    assert error_of(place.channel, "ForkVideo", request, token=token) is None
    place.server.engine.drop_video(VideoKey(THEIRS, "fork"))


@pytest.mark.parametrize("method", ["AppendStream", "AdvanceStream"])
def test_later_messages_of_a_stream_are_looked_at_too(place: Place, method: str) -> None:
    place.prepare()
    (good,) = place.requests(method)
    bad = type(good)()
    bad.CopyFrom(good)
    bad.key.CopyFrom(foreign_key())
    error = error_of(place.channel, method, good, bad, token=place.tokens["all rights"])
    assert type(error) is PermissionDenied
    assert place.server.engine.get_video(VIDEO).state.length == 6


def test_pools_are_listed_to_those_who_may_see_them(place: Place) -> None:
    def listed(caller: str) -> set[str]:
        (answer,) = call(place.channel, "ListPools", pb.ListPoolsRequest(), token=place.tokens[caller])
        return {pool.pool for pool in answer.pools}

    for pool in (MINE, THEIRS):  # another test may have dropped it
        request = pb.CreatePoolRequest(pool=pool, spec=pb.PoolSpec())
        with suppress(grpc.RpcError):
            call(place.channel, "CreatePool", request, token=place.tokens["master"])
    assert listed("read") == listed("admin") == {MINE}
    assert listed("read mine, write theirs") == {MINE, THEIRS}
    assert listed("all rights elsewhere") == set()
    assert listed("master") >= {MINE, THEIRS}


def test_the_page_after_a_pool_that_one_may_not_see(place: Place) -> None:
    request = pb.ListPoolsRequest(page_size=1)
    (answer,) = call(place.channel, "ListPools", request, token=place.tokens["read"])
    assert ([pool.pool for pool in answer.pools], answer.next_page_token) == ([MINE], "")


def test_who_may_not_call_learns_nothing_from_a_bad_request(place: Place) -> None:
    """Neither the format of a request nor the existence of what it names is looked at without a token."""
    garbage = place.channel.unary_unary(
        "/memory_service.v1.MemoryService/GetVideo", request_serializer=bytes, response_deserializer=bytes
    )
    with pytest.raises(grpc.RpcError) as caught:
        garbage(b"\xff\xff\xff", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


@pytest.mark.parametrize("caller", ["nobody", "unknown", "read"])
def test_health_and_reflection_need_any_valid_token(place: Place, caller: str) -> None:
    token = place.tokens[caller]
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    health = health_pb2_grpc.HealthStub(place.channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(place.channel)
    asks = [
        lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=20, metadata=metadata),
        lambda: next(health.Watch(health_pb2.HealthCheckRequest(), timeout=20, metadata=metadata)),
        lambda: next(
            reflection.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]),
                timeout=20,
                metadata=metadata,
            )
        ),
    ]
    for ask in asks:
        if caller == "read":
            ask()
            continue
        with pytest.raises(grpc.RpcError) as caught:
            ask()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "{}", "bearer  {}", "Bearer {} ", "Bearer {}0", "{} Bearer"],
)
def test_headers_that_are_no_token(place: Place, header: str) -> None:
    token = str(place.tokens["read"])
    stub = place.channel.unary_unary("/memory_service.v1.MemoryService/ServerInfo", bytes, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        stub(b"", timeout=20, metadata=(("authorization", header.format(token)),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


def test_two_tokens_are_none(place: Place) -> None:
    token = str(place.tokens["master"])
    stub = place.channel.unary_unary("/memory_service.v1.MemoryService/ServerInfo", bytes, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        stub(b"", timeout=20, metadata=(("authorization", f"Bearer {token}"),) * 2)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


def test_secrets_are_in_no_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for caller in ("read", "expired", "unknown", "malformed"):
        place.refusal("GetVideo", caller)
        place.refusal("DropVideo", caller)
    for token in place.tokens.values():
        if token is not None:
            assert token.rpartition("_")[2] not in caplog.text
    assert "token=caller-" in caplog.text


def test_a_video_of_a_pool_that_one_may_read_is_simply_not_found(place: Place) -> None:
    request = pb.GetVideoRequest(key=pb.VideoKey(pool=MINE, video="nobody"))
    assert type(error_of(place.channel, "GetVideo", request, token=place.tokens["read"])) is NotFound


def test_events_of_another_pool_are_not_told(place: Place) -> None:
    with pytest.raises(PermissionDenied):
        first_answer(place.channel, "Watch", pb.WatchRequest(pool=THEIRS), place.tokens["read"])


def test_an_embedding_is_no_way_around(place: Place) -> None:
    """A pool-wide scope stays within the pool of its key."""
    place.prepare()
    place.server.engine.append(VideoKey(THEIRS, "video"), block(0))
    query = pb.Query(k=100, eligible=pb.Span(stop=100), embedding=embeddings(0, 1).tobytes())
    request = pb.SearchRequest(key=wire.key_to_proto(VIDEO), queries=[query], scope=pb.Scope(pool=True))
    (answer,) = call(place.channel, "Search", request, token=place.tokens["read"])
    assert {hit.handle.key.pool for hit in answer.results[0].hits} == {MINE}


@pytest.mark.parametrize("method", ["Watch", "AppendStream", "AdvanceStream"])
def test_revoked_while_streaming(place: Place, method: str) -> None:
    place.prepare()
    token = create_token(place.file, f"short-lived-{method}", {MINE: ["read", "write"]}).text
    assert place.server.reload()
    go_on = threading.Event()

    def requests() -> Iterator[Any]:
        yield place.requests(method)[0]
        go_on.wait(20)

    stub = MemoryServiceStub(place.channel)  # type: ignore[no-untyped-call]
    if method == "Watch":
        stream = stub.Watch(place.requests("Watch")[0], metadata=bearer(token))
    else:
        stream = getattr(stub, method)(requests(), metadata=bearer(token))
    next(stream)
    revoke_token(place.file, f"short-lived-{method}")
    assert place.server.reload()
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    assert isinstance(from_rpc_error(caught.value), Unauthenticated)
    assert time.monotonic() - began < 10
    go_on.set()
