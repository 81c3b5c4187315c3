"""What the client does by itself: try again, fetch the rest, follow pages, notice damage."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from samples import ALL, KEY, SPEC, block, query

from memory_service import connection, servicer
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, InvalidArgument, NotFound, OutOfOrder, ServiceError, Unavailable
from memory_service.gate import Gate
from memory_service.interceptors import RequestInterceptor
from memory_service.limits import Limits
from memory_service.types import Handle, Query, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import add_MemoryServiceServicer_to_server

FRAME_BYTES = 60_000


class Backend(servicer.Servicer):
    """The real servicer over a real engine; `before` may fail a call, `after` may change its answer."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine, engine.limits)
        self.engine = engine
        self.calls: list[str] = []
        self.before: Callable[[str, grpc.ServicerContext], None] = lambda *_: None
        self.after: Callable[[str, Any, grpc.ServicerContext], Any] = lambda _name, answer, _context: answer


def counted(name: str) -> Callable[[Backend, Any, grpc.ServicerContext], Any]:
    method = getattr(servicer.Servicer, name)

    def call(self: Backend, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls.append(name)
        self.before(name, context)
        return self.after(name, method(self, request, context), context)

    return call


for _method in pb.DESCRIPTOR.services_by_name["MemoryService"].methods:
    setattr(Backend, _method.name, counted(_method.name))


@pytest.fixture
def backend(tmp_path: Any) -> Iterator[Backend]:
    engine = MemoryEngine(tmp_path / "data", limits=Limits(max_message_bytes=1 << 20), commit_interval_s=0.01)
    yield Backend(engine)
    engine.close()


@pytest.fixture
def memory(backend: Backend, tmp_path: Path) -> Iterator[MemoryClient]:
    gate = Gate(ServiceConfig(data_dir=tmp_path / "data"), None, lambda: None)
    interceptor = RequestInterceptor("memory_service.v1.MemoryService", gate)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    add_MemoryServiceServicer_to_server(backend, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with MemoryClient(f"127.0.0.1:{port}", timeout_s=10) as client:
        client.create_video(KEY, SPEC)
        backend.calls.clear()
        yield client
    server.stop(None).wait()
    gate.close()


def fail(times: int, error: ServiceError) -> Callable[..., Any]:
    """The first calls end with `error`, the rest go through."""
    left = itertools.count(times, -1)

    def failing(*arguments: Any) -> Any:
        if next(left) > 0:
            raise error
        return arguments[1] if len(arguments) == 3 else None

    return failing


class TestRetry:
    def test_unavailable_is_tried_again(self, memory: MemoryClient, backend: Backend) -> None:
        backend.before = fail(3, Unavailable("later"))
        assert memory.append(KEY, block(0)).state.length == 3
        assert backend.calls == ["Append"] * 4

    @pytest.mark.parametrize("error", [InvalidArgument, NotFound, DataLoss, OutOfOrder])
    def test_nothing_else_is(self, memory: MemoryClient, backend: Backend, error: type[ServiceError]) -> None:
        backend.before = fail(1, error("no", details={"expected_start": "0"}))
        with pytest.raises(error):
            memory.append(KEY, block(0))
        assert backend.calls == ["Append"]

    def test_an_append_whose_answer_was_lost_counts_once(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        backend.after = fail(1, Unavailable("cut off"))
        answer = memory.append(KEY, block(0))
        assert (answer.state.length, answer.duplicate) == (3, True)
        assert backend.calls == ["Append", "Append"]

    def test_a_drop_whose_answer_was_lost_is_done(self, memory: MemoryClient, backend: Backend) -> None:
        backend.after = fail(1, Unavailable("cut off"))
        memory.drop_video(KEY)
        assert backend.calls == ["DropVideo", "DropVideo"]
        with pytest.raises(NotFound):
            memory.drop_video(KEY)

    def test_a_fetch_that_broke_off_goes_on_where_it_was(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        epoch = memory.append(KEY, block(0)).state.epoch
        asked: list[int] = []

        def cut(name: str, answer: Any, _context: grpc.ServicerContext) -> Any:
            if name != "Fetch":
                return answer
            return self.cut_stream(answer, asked)

        backend.after = cut
        frames = memory.fetch([Handle(KEY, epoch, frame) for frame in (2, 0, 1)])
        assert [frame.handle.frame for frame in frames] == [2, 0, 1]
        assert asked == [2, 0, 0, 1, 1]

    @staticmethod
    def cut_stream(answer: Any, asked: list[int]) -> Iterator[Any]:
        """Ends with UNAVAILABLE before the second frame."""
        for number, response in enumerate(answer):
            asked.append(pb.FetchResponse.FromString(response).frame.handle.frame)
            if number == 1:
                raise Unavailable("cut off")
            yield response

    def test_pauses_grow_and_differ(self) -> None:
        some = list(itertools.islice(connection.pauses(), 12))
        assert all(0 < pause <= connection.LONGEST_PAUSE_S for pause in some)
        assert some[0] <= connection.FIRST_PAUSE_S < min(some[3:])
        assert some != list(itertools.islice(connection.pauses(), 12))


class TestAnswers:
    def test_frames_that_found_no_room_are_fetched(self, memory: MemoryClient, backend: Backend) -> None:
        key = VideoKey("pool", "large")
        memory.create_video(key, SPEC)
        payload = [bytes([i]) * FRAME_BYTES for i in range(3)]
        for start in range(0, 30, 3):
            memory.append(key, block(start, preview=payload))
        backend.calls.clear()
        advanced = memory.advance(key, block(30, preview=payload), Query(25, ALL))
        assert backend.calls == ["Advance", "Fetch"]
        assert [frame.handle for frame in advanced.frames] == [hit.handle for hit in advanced.hits]
        assert all(frame.parts["preview"] == payload[frame.handle.frame % 3] for frame in advanced.frames)

    def test_known_frames_of_another_life_are_fetched(self, memory: MemoryClient, backend: Backend) -> None:
        epoch = memory.append(KEY, block(0)).state.epoch
        known = [Handle(KEY, epoch + 1, frame) for frame in range(3)]
        advanced = memory.advance(KEY, block(3), Query(6, ALL), known=known)
        assert len(advanced.frames) == 6
        assert backend.calls[-1] == "Fetch"

    def test_pages_are_followed(
        self, memory: MemoryClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("memory_service.paging.MAX_ROWS", 2)
        for name in ("c", "a", "b", "e", "d"):
            memory.create_video(VideoKey("many", name), SPEC)
        memory.append(KEY, block(0))
        for k in range(1, 6):
            memory.search(KEY, [query(k, like=1)])
        backend.calls.clear()
        assert [info.key.video for info in memory.list_videos("many")] == ["a", "b", "c", "d", "e"]
        assert [one.k for one in memory.retrievals(KEY)] == [1, 2, 3, 4, 5]
        assert backend.calls == ["ListVideos"] * 3 + ["ListRetrievals"] * 3

    def test_a_payload_damaged_on_its_way_is_data_loss(self, memory: MemoryClient, backend: Backend) -> None:
        def damage(name: str, answer: Any, _context: grpc.ServicerContext) -> Any:
            if name != "Advance":
                return answer
            message = pb.AdvanceResponse.FromString(answer)
            message.frames[0].payloads[0].crc32c ^= 1
            return message.SerializeToString()

        backend.after = damage
        with pytest.raises(DataLoss, match="latent"):
            memory.advance(KEY, block(0), Query(1, ALL))


class TestEnd:
    def test_closing_waits_until_all_is_durable(self, memory: MemoryClient, backend: Backend) -> None:
        memory.append(KEY, block(0))
        memory.close()
        assert backend.engine.get_video(KEY).state.durable == 3

    def test_closing_again_does_nothing_and_calls_are_refused(self, memory: MemoryClient) -> None:
        memory.close()
        memory.close()
        for call in (
            memory.info,
            lambda: memory.append(KEY, block(0)),
            lambda: memory.fetch([Handle(KEY, 1, 0)]),
        ):
            with pytest.raises(Unavailable, match="closed"):
                call()

    def test_threads_share_a_client(self, memory: MemoryClient) -> None:
        keys = [VideoKey("pool", f"video-{i}") for i in range(8)]
        failures: list[BaseException] = []

        def write(key: VideoKey) -> None:
            try:
                memory.create_video(key, SPEC)
                for start in range(0, 30, 3):
                    assert memory.advance(key, block(start), Query(3, ALL)).appended.state.length == start + 3
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=write, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
