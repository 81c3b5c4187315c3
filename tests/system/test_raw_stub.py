"""Every RPC by a client that knows nothing but memory.proto: generated stubs, and bytes made by hand."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from serving import ServerProcess

from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub

POOL = "films"
KEY = pb.VideoKey(pool=POOL, video="take-1")
DIM, LATENT_BYTES = 4, 16
METHODS = {method.name for method in pb.DESCRIPTOR.services_by_name["MemoryService"].methods}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("raw") / "data", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[MemoryServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield MemoryServiceStub(channel)  # type: ignore[no-untyped-call]


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def unit(frame: int) -> bytes:
    """An embedding that turns a little with every frame."""
    return floats(1.0, frame / 10, (frame % 3) / 10, 0.0)


def latent(frame: int) -> bytes:
    return bytes([frame % 256]) * LATENT_BYTES


def block(start: int, n: int = 3) -> pb.Block:
    frames = range(start, start + n)
    return pb.Block(
        start=start,
        embeddings=b"".join(map(unit, frames)),
        parts=[pb.Part(name="latent", payloads=[latent(frame) for frame in frames])],
        named=[pb.NamedEmbeddings(name="text", embeddings=b"".join(floats(frame, 1.0) for frame in frames))],
        metadata={"shot": str(start // 6)},
        unix_ms=1000 + start,
    )


def spec() -> pb.VideoSpec:
    return pb.VideoSpec(
        embedding_dim=DIM,
        latent_dtype=pb.LATENT_DTYPE_FLOAT32,
        latent_shape=[2, 2],
        encoder_id="by-hand/1",
        metadata={"prompt": "a harbour"},
        named_dims={"text": 2},
    )


def crc32c(data: bytes) -> int:
    """Castagnoli, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Code, reason and metadata of an error, read as any google.rpc client reads them."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
    assert info.domain == "memory.reverie"
    return error.code(), info.reason, dict(info.metadata)


@pytest.fixture
def video(stub: Any) -> Iterator[pb.Video]:
    """An empty video, in a pool that goes with it."""
    yield stub.CreateVideo(pb.CreateVideoRequest(key=KEY, spec=spec())).video
    stub.DropPool(pb.DropPoolRequest(pool=POOL, with_videos=True))


@pytest.fixture
def filled(stub: Any, video: pb.Video) -> pb.Video:  # noqa: ARG001 -- it is created and dropped there
    """With twelve frames in blocks of three."""
    for start in range(0, 12, 3):
        stub.Append(pb.AppendRequest(key=KEY, block=block(start)))
    got: pb.Video = stub.GetVideo(pb.GetVideoRequest(key=KEY)).video
    return got


def handle(video: pb.Video, frame: int) -> pb.Handle:
    return pb.Handle(key=video.key, epoch=video.state.epoch, frame=frame)


def test_pools(stub: Any) -> None:
    limits = pb.PoolSpec(max_bytes=1 << 20, max_videos=1, ttl_ms=60_000)
    for pool in ("pool-a", "pool-b"):
        assert stub.CreatePool(pb.CreatePoolRequest(pool=pool, spec=limits)).pool.spec == limits
    first = stub.ListPools(pb.ListPoolsRequest(page_size=1))
    second = stub.ListPools(pb.ListPoolsRequest(page_size=1, page_token=first.next_page_token))
    assert [first.pools[0].pool, second.pools[0].pool] == ["pool-a", "pool-b"]
    key = pb.VideoKey(pool="pool-a", video="one")
    stub.CreateVideo(pb.CreateVideoRequest(key=key, spec=spec()))
    code, reason, metadata = refused(
        lambda: stub.CreateVideo(
            pb.CreateVideoRequest(key=pb.VideoKey(pool="pool-a", video="two"), spec=spec())
        )
    )
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED")
    assert (metadata["used"], metadata["allowed"], metadata["unit"]) == ("1", "1", "videos")
    limits.max_videos = 2
    assert stub.UpdatePool(pb.UpdatePoolRequest(pool="pool-a", spec=limits)).pool.spec.max_videos == 2
    assert stub.GetPool(pb.GetPoolRequest(pool="pool-a")).pool.usage.num_videos == 1
    unknown = pb.VideoKey(pool="pool-a", video="nobody")
    assert list(stub.Heartbeat(pb.HeartbeatRequest(keys=[key, unknown])).missing) == [unknown]
    code, reason, _ = refused(lambda: stub.DropPool(pb.DropPoolRequest(pool="pool-a")))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EMPTY")
    stub.DropPool(pb.DropPoolRequest(pool="pool-a", with_videos=True))
    stub.DropPool(pb.DropPoolRequest(pool="pool-b"))
    assert not stub.ListPools(pb.ListPoolsRequest()).pools


def test_videos(stub: Any, video: pb.Video) -> None:
    assert (video.key, video.spec, video.state.length) == (KEY, spec(), 0)
    listed = stub.ListVideos(pb.ListVideosRequest(pool=POOL))
    assert [one.key for one in listed.videos] == [KEY]
    stub.DropVideo(pb.DropVideoRequest(key=KEY))
    code, reason, metadata = refused(lambda: stub.GetVideo(pb.GetVideoRequest(key=KEY)))
    assert (code, reason, metadata["field"]) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "key")


def test_append_is_exactly_once(stub: Any, video: pb.Video) -> None:
    request = pb.AppendRequest(key=KEY, block=block(0), epoch=video.state.epoch, sync=True)
    first, again = stub.Append(request), stub.Append(request)
    assert (first.state.length, first.state.durable, first.duplicate) == (3, 3, False)
    assert (again.state.length, again.duplicate) == (3, True)
    code, _, metadata = refused(lambda: stub.Append(pb.AppendRequest(key=KEY, block=block(9))))
    assert (code, metadata["expected_start"]) == (grpc.StatusCode.OUT_OF_RANGE, "3")
    other = block(0)
    other.parts[0].payloads[1] = bytes(LATENT_BYTES)
    code, _, _ = refused(lambda: stub.Append(pb.AppendRequest(key=KEY, block=other)))
    assert code is grpc.StatusCode.ALREADY_EXISTS


def test_append_stream(stub: Any, video: pb.Video) -> None:
    epoch = video.state.epoch

    def requests() -> Iterator[pb.AppendStreamRequest]:
        yield pb.AppendStreamRequest(key=KEY, epoch=epoch, block=block(0))
        for start in range(3, 30, 3):
            yield pb.AppendStreamRequest(block=block(start), sync=start == 27)

    answers = list(stub.AppendStream(requests()))
    assert [answer.state.length for answer in answers] == list(range(3, 33, 3))
    assert answers[-1].state.durable == 30

    def wrong() -> Iterator[pb.AppendStreamRequest]:
        yield pb.AppendStreamRequest(key=KEY, block=block(30))
        yield pb.AppendStreamRequest(block=block(99))
        yield pb.AppendStreamRequest(block=block(33))

    stream, came = stub.AppendStream(wrong()), []

    def read() -> None:
        came.extend(stream)

    code, reason, _ = refused(read)
    assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_ORDER")
    assert stub.GetVideo(pb.GetVideoRequest(key=KEY)).video.state.length == 33


@pytest.mark.parametrize(
    ("field", "requests"),
    [
        ("key", [pb.AppendStreamRequest(block=block(0))]),
        ("block", [pb.AppendStreamRequest(key=KEY)]),
        (
            "key",
            [
                pb.AppendStreamRequest(key=KEY, block=block(0)),
                pb.AppendStreamRequest(key=pb.VideoKey(pool=POOL, video="other"), block=block(3)),
            ],
        ),
        (
            "epoch",
            [
                pb.AppendStreamRequest(key=KEY, block=block(0)),
                pb.AppendStreamRequest(epoch=5, block=block(3)),
            ],
        ),
    ],
)
@pytest.mark.usefixtures("video")
def test_a_stream_that_contradicts_itself(stub: Any, field: str, requests: Any) -> None:
    code, _, metadata = refused(lambda: list(stub.AppendStream(iter(requests))))
    assert (code, metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.usefixtures("filled")
def test_search_and_its_log(stub: Any) -> None:
    plain = pb.Query(embedding=unit(4), k=2, eligible=pb.Span(start=0, stop=9))
    apart = pb.Query(
        frame=11,
        k=3,
        eligible=pb.Span(start=0, stop=100),
        policy=pb.Policy(min_gap_frames=3, pinned_frames=[1], min_score=-1.0),
        filter=pb.Filter(metadata={"shot": "1"}, after_unix_ms=1006),
        terms=[pb.Term(name="text", embedding=floats(1.0, 0.0), weight=0.5)],
        weight=0.5,
    )
    answer = stub.Search(pb.SearchRequest(key=KEY, queries=[plain, apart]))
    assert answer.state.length == 12
    assert answer.results[0].hits[0].handle.frame == 4
    assert answer.results[0].hits[0].score == pytest.approx(1.0)
    frames = [hit.handle.frame for hit in answer.results[1].hits]
    assert frames[0] == 1
    assert answer.results[1].hits[0].pinned
    assert all(frame >= 6 for frame in frames[1:])
    everywhere = stub.Search(
        pb.SearchRequest(key=KEY, queries=[plain], scope=pb.Scope(pool=True), unlogged=True)
    )
    assert everywhere.results[0].hits[0].handle.frame == 4
    log = stub.ListRetrievals(pb.ListRetrievalsRequest(key=KEY, page_size=1))
    rest = stub.ListRetrievals(pb.ListRetrievalsRequest(key=KEY, page_token=log.next_page_token))
    assert [one.k for one in (*log.retrievals, *rest.retrievals)] == [2, 3]
    newest = stub.ListRetrievals(pb.ListRetrievalsRequest(key=KEY, newest_first=True, skip=1))
    assert [one.k for one in newest.retrievals] == [2]
    assert newest.retrievals[0].num_candidates == 9
    code, _, metadata = refused(
        lambda: stub.Search(
            pb.SearchRequest(key=KEY, queries=[pb.Query(frame=0, k=0, eligible=pb.Span(stop=1))])
        )
    )
    assert (code, metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "queries[0].k")


def test_fetch(stub: Any, filled: pb.Video) -> None:
    handles = [handle(filled, frame) for frame in (7, 0, 7)]
    frames = [answer.frame for answer in stub.Fetch(pb.FetchRequest(handles=handles, parts=["latent"]))]
    assert [frame.handle for frame in frames] == handles
    for frame in frames:
        (payload,) = frame.payloads
        assert (payload.name, payload.data) == ("latent", latent(frame.handle.frame))
        assert payload.crc32c == crc32c(payload.data)
        assert frame.embedding == unit(frame.handle.frame)
        assert [(one.name, one.embeddings) for one in frame.named] == [
            ("text", floats(frame.handle.frame, 1.0))
        ]
        assert dict(frame.metadata) == {"shot": str(frame.handle.frame // 6)}
        assert frame.unix_ms == 1000 + frame.handle.frame // 3 * 3
    stale = pb.Handle(key=KEY, epoch=filled.state.epoch + 1, frame=0)
    code, _, metadata = refused(lambda: list(stub.Fetch(pb.FetchRequest(handles=[stale]))))
    assert code is grpc.StatusCode.NOT_FOUND
    assert metadata["field"].startswith("handles[0]")


@pytest.mark.usefixtures("filled")
def test_advance(stub: Any) -> None:
    request = pb.AdvanceRequest(
        key=KEY, block=block(12), query=pb.Query(k=4, eligible=pb.Span(start=0, stop=12))
    )
    first = stub.Advance(request)
    assert (first.state.length, first.duplicate) == (15, False)
    hits = [hit.handle for hit in first.hits]
    assert [frame.handle for frame in first.frames] == hits
    assert len(hits) == 4
    request.known_frames.extend([hits[0].frame, hits[2].frame])
    again = stub.Advance(request)
    assert again.duplicate
    assert [hit.handle for hit in again.hits] == hits
    assert [frame.handle for frame in again.frames] == [hits[1], hits[3]]


@pytest.mark.usefixtures("filled")
def test_advance_stream(stub: Any) -> None:
    def requests() -> Iterator[pb.AdvanceRequest]:
        for start in (12, 15, 15, 99, 18):
            query = pb.Query(k=2, eligible=pb.Span(stop=start))
            yield pb.AdvanceRequest(key=KEY, block=block(start), query=query, known_frames=range(12))

    stream, answers = stub.AdvanceStream(requests()), []

    def read() -> None:
        answers.extend(stream)

    code, reason, metadata = refused(read)
    assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_ORDER")
    assert metadata["expected_start"] == "18"
    found = [(answer.state.length, answer.duplicate, len(answer.hits)) for answer in answers]
    assert found == [(15, False, 2), (18, False, 2), (18, True, 2)]
    assert stub.GetVideo(pb.GetVideoRequest(key=KEY)).video.state.length == 18


def test_fork_truncate_and_seal(stub: Any, filled: pb.Video) -> None:
    fork_key = pb.VideoKey(pool=POOL, video="take-2")
    request = pb.ForkVideoRequest(parent=KEY, key=fork_key, length=6, metadata={"prompt": "at night"})
    fork = stub.ForkVideo(request).video
    assert (fork.state.length, fork.parent.key, fork.parent.length) == (6, KEY, 6)
    assert dict(fork.spec.metadata) == {"prompt": "at night"}
    assert stub.ForkVideo(request).video.state == fork.state
    shared = next(iter(stub.Fetch(pb.FetchRequest(handles=[handle(fork, 5)])))).frame
    assert shared.payloads[0].data == latent(5)

    cut = pb.TruncateVideoRequest(key=KEY, length=4, epoch=filled.state.epoch)
    truncated = stub.TruncateVideo(cut).video
    assert (truncated.state.length, truncated.state.durable) == (4, 4)
    assert truncated.state.epoch != filled.state.epoch
    assert stub.TruncateVideo(cut).video.state == truncated.state
    code, reason, _ = refused(
        lambda: stub.Append(pb.AppendRequest(key=KEY, block=block(4), epoch=filled.state.epoch))
    )
    assert (code, reason) == (grpc.StatusCode.ABORTED, "FENCED")
    kept = next(iter(stub.Fetch(pb.FetchRequest(handles=[handle(filled, 3)])))).frame
    assert kept.payloads[0].data == latent(3)

    assert stub.SealVideo(pb.SealVideoRequest(key=fork_key)).video.sealed
    code, reason, _ = refused(lambda: stub.Append(pb.AppendRequest(key=fork_key, block=block(6))))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SEALED")


def test_export_and_import(stub: Any, filled: pb.Video) -> None:
    reel = b"".join(chunk.data for chunk in stub.ExportVideo(pb.ExportVideoRequest(key=KEY)))
    copy = pb.VideoKey(pool=POOL, video="copy")

    def upload(data: bytes) -> Iterator[pb.ImportVideoRequest]:
        yield pb.ImportVideoRequest(key=copy, expected=spec())
        for start in range(0, len(data), 1000):
            yield pb.ImportVideoRequest(data=data[start : start + 1000])

    code, reason, _ = refused(lambda: stub.ImportVideo(upload(reel[:-10])))
    assert reason in {"DATA_LOSS", "INVALID_ARGUMENT"}
    imported = stub.ImportVideo(upload(reel)).video
    assert imported.state.length == 12
    assert imported.state.epoch != filled.state.epoch
    answers = stub.Fetch(pb.FetchRequest(handles=[handle(imported, frame) for frame in range(12)]))
    assert [answer.frame.payloads[0].data for answer in answers] == [latent(frame) for frame in range(12)]
    code, _, _ = refused(lambda: stub.ImportVideo(upload(reel)))
    assert code is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.usefixtures("video")
def test_watch(stub: Any) -> None:
    events = stub.Watch(pb.WatchRequest(pool=POOL, video="take-1"), timeout=30)
    assert next(events).event.kind == pb.EVENT_KIND_WATCHING
    stub.Append(pb.AppendRequest(key=KEY, block=block(0)))
    stub.Search(
        pb.SearchRequest(key=KEY, queries=[pb.Query(frame=0, k=1, eligible=pb.Span(start=1, stop=3))])
    )
    appended, retrieved = next(events).event, next(events).event
    assert (appended.kind, appended.state.length) == (pb.EVENT_KIND_APPENDED, 3)
    assert (retrieved.kind, list(retrieved.retrieval.frames)) == (pb.EVENT_KIND_RETRIEVED, [1])
    events.cancel()


def test_the_server_itself(stub: Any) -> None:
    info = stub.ServerInfo(pb.ServerInfoRequest())
    assert info.version
    assert info.index == "flat"
    assert info.durability == "group"
    assert min(info.max_message_bytes, info.max_k, info.max_queries, info.max_hits) > 0
    assert not info.local_path
    code, reason, _ = refused(lambda: stub.OpenLocal(pb.OpenLocalRequest(staging_bytes=1 << 20)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def test_no_rpc_is_left_out() -> None:
    source = Path(__file__).read_text()
    assert {method for method in METHODS if f"stub.{method}(" not in source} == set()
