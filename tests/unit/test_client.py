"""What the client does by itself: try again, fetch the rest, follow pages, notice damage."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from backend import Backend, fail
from samples import ALL, KEY, SPEC, assert_frames, block, latents, query

from memory_service.client import MemoryClient
from memory_service.errors import (
    AlreadyExists,
    DataLoss,
    Fenced,
    InvalidArgument,
    NotFound,
    OutOfOrder,
    Overloaded,
    ServiceError,
    Unavailable,
)
from memory_service.remote import connection
from memory_service.types import Handle, PoolSpec, Query, Span, VideoKey
from memory_service.v1 import memory_pb2 as pb

FRAME_BYTES = 60_000


@pytest.fixture
def memory(served: tuple[Backend, str]) -> Iterator[MemoryClient]:
    backend, address = served
    with MemoryClient(address, timeout_s=10, local=False) as client:
        client.create_video(KEY, SPEC)
        backend.calls.clear()
        yield client


def fail_only(name: str, times: int, error: ServiceError) -> Any:
    """As `fail`, for the calls of one method."""
    failing = fail(times, error)
    return lambda method, answer, context: failing(method, answer, context) if method == name else answer


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

    def test_overloaded_is_tried_again_when_the_server_says(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        backend.before = fail(2, Overloaded("full", details={"retry_after_ms": "300"}))
        began = time.monotonic()
        assert memory.append(KEY, block(0)).state.length == 3
        assert time.monotonic() - began > 0.6
        assert backend.calls == ["Append"] * 3

    def test_overloaded_beyond_the_timeout_is_not_waited_for(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        backend.before = fail(9, Overloaded("full", details={"retry_after_ms": "60000"}))
        began = time.monotonic()
        with pytest.raises(Overloaded) as caught:
            memory.append(KEY, block(0))
        assert caught.value.retry_after_ms == 60_000
        assert time.monotonic() - began < 5
        assert backend.calls == ["Append"]

    def test_a_pool_whose_drop_was_not_answered_is_dropped(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        memory.create_pool("brief", PoolSpec())
        backend.after = fail(1, Unavailable("cut off"))
        memory.drop_pool("brief")
        with pytest.raises(NotFound):
            memory.drop_pool("brief")

    def test_a_drop_that_was_refused_took_no_effect(self, memory: MemoryClient, backend: Backend) -> None:
        memory.drop_video(KEY)
        backend.before = fail(1, Overloaded("full", details={"retry_after_ms": "1"}))
        with pytest.raises(NotFound):
            memory.drop_video(KEY)

    def test_a_fork_whose_answer_was_lost_is_the_fork(self, memory: MemoryClient, backend: Backend) -> None:
        memory.append(KEY, block(0))
        fork = VideoKey("pool", "fork")
        lose = fail(1, Unavailable("cut off"))

        def grows_meanwhile(name: str, answer: Any, context: grpc.ServicerContext) -> Any:
            if name == "ForkVideo" and backend.calls.count("ForkVideo") == 1:
                backend.engine.append(KEY, block(3))
            return lose(name, answer, context) if name == "ForkVideo" else answer

        backend.after = grows_meanwhile
        info = memory.fork_video(KEY, fork)
        assert (info.state.length, info.key) == (3, fork)
        assert backend.calls.count("ForkVideo") == 2

    def test_what_is_no_fork_of_the_parent_is_not_taken_for_it(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        memory.append(KEY, block(0))
        other = VideoKey("pool", "other")
        memory.create_video(other, SPEC)
        backend.before = fail(1, Unavailable("cut off"))
        with pytest.raises(AlreadyExists):
            memory.fork_video(KEY, other)

    def test_a_truncation_whose_answer_was_lost_happens_once(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        for start in (0, 3, 6):
            memory.append(KEY, block(start))
        backend.after = fail_only("TruncateVideo", 1, Unavailable("cut off"))
        info = memory.truncate_video(KEY, 4)
        assert info.state.length == 4
        assert backend.calls.count("TruncateVideo") == 2
        assert memory.get_video(KEY).state.epoch == info.state.epoch

    def test_a_truncation_never_takes_what_others_wrote_after_it(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        """Its answer is lost, another writer goes on from there, and it is tried again."""
        for start in (0, 3):
            memory.append(KEY, block(start))
        lose = fail(1, Unavailable("cut off"))

        def others_write(name: str, answer: Any, context: grpc.ServicerContext) -> Any:
            if name != "TruncateVideo":
                return answer
            backend.engine.append(KEY, block(3))
            return lose(name, answer, context)

        backend.after = others_write
        with pytest.raises(Fenced):
            memory.truncate_video(KEY, 3)
        assert backend.engine.get_video(KEY).state.length == 6

    def test_a_seal_whose_answer_was_lost_is_done(self, memory: MemoryClient, backend: Backend) -> None:
        backend.after = fail(1, Unavailable("cut off"))
        assert memory.seal_video(KEY).sealed

    def test_an_export_that_breaks_off_does_not_go_on(self, memory: MemoryClient, backend: Backend) -> None:
        for start in range(0, 60, 3):
            memory.append(KEY, block(start, preview=[bytes(FRAME_BYTES)] * 3))
        whole = b"".join(memory.export_video(KEY))
        backend.before = fail(2, Unavailable("not yet"))
        assert b"".join(memory.export_video(KEY)) == whole

        def cut(_name: str, answer: Any, _context: grpc.ServicerContext) -> Iterator[Any]:
            yield next(answer)
            raise Unavailable("cut off")

        backend.after = cut
        with pytest.raises(Unavailable, match="cut off"):
            list(memory.export_video(KEY))

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

    def test_an_error_after_that_names_the_handle_of_the_caller(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        epoch = memory.append(KEY, block(0)).state.epoch
        cuts: list[int] = []

        def cut(name: str, answer: Any, _context: grpc.ServicerContext) -> Any:
            if name != "Fetch":
                return answer
            return self.cut_stream(answer, cuts) if not cuts else self.damaged_at(1, answer)

        backend.after = cut
        with pytest.raises(DataLoss) as caught:
            memory.fetch([Handle(KEY, epoch, frame) for frame in (2, 0, 1)])
        assert caught.value.field == "handles[2]"

    @staticmethod
    def damaged_at(number: int, answer: Any) -> Iterator[Any]:
        """Ends with DATA_LOSS at a frame."""
        for i, response in enumerate(answer):
            if i == number:
                raise DataLoss("damaged", field=f"handles[{i}]", expected="its checksum")
            yield response

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
        monkeypatch.setattr("memory_service.serving.paging.MAX_ROWS", 2)
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


class TestImport:
    def test_a_reel_is_not_read_before_there_is_room_for_it(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        memory.append(KEY, block(0))
        reel = b"".join(memory.export_video(KEY))
        asked: list[int] = []

        def chunks() -> Iterator[bytes]:
            asked.append(backend.calls.count("ImportVideo"))
            yield reel

        copy = VideoKey("pool", "copy")
        backend.before = fail(3, Overloaded("full", details={"retry_after_ms": "1"}))
        assert memory.import_video(copy, chunks()).state.length == 3
        assert asked == [4]

    def test_chunks_may_have_any_size(self, memory: MemoryClient) -> None:
        for start in range(0, 60, 3):
            memory.append(KEY, block(start, preview=[bytes(FRAME_BYTES)] * 3))
        reel = b"".join(memory.export_video(KEY))
        assert len(reel) > 3 << 20
        for name, chunks in {
            "whole": [reel],
            "odd": [reel[start : start + 9973] for start in range(0, len(reel), 9973)],
            "none": [b"", bytearray(reel[:1]), memoryview(reel)[1:], b""],
        }.items():
            copy = VideoKey("pool", name)
            assert memory.import_video(copy, chunks, expected=SPEC).state.length == 60
            assert_frames(memory, 0, 60, copy)

    def test_an_error_of_the_reel_is_the_callers(self, memory: MemoryClient) -> None:
        memory.append(KEY, block(0))
        reel = b"".join(memory.export_video(KEY))

        def chunks() -> Iterator[bytes]:
            yield reel[:100]
            raise ZeroDivisionError

        copy = VideoKey("pool", "copy")
        with pytest.raises(ZeroDivisionError):
            memory.import_video(copy, chunks())
        with pytest.raises(InvalidArgument) as caught:
            memory.import_video(copy, [reel, "text"])  # type: ignore[list-item]
        assert caught.value.field == "data"
        with pytest.raises(NotFound):
            memory.get_video(copy)


class TestCache:
    """One client fetches, so that whatever it is answered a second time costs no payload."""

    def fill(self, memory: MemoryClient, stop: int = 12) -> int:
        for start in range(0, stop, 3):
            epoch = memory.append(KEY, block(start)).state.epoch
        return epoch

    def test_a_hit_that_comes_again_costs_no_bytes(self, memory: MemoryClient, backend: Backend) -> None:
        self.fill(memory)
        sent: list[int] = []

        def count(name: str, answer: Any, _context: grpc.ServicerContext) -> Any:
            if name == "Advance":
                sent.append(len(pb.AdvanceResponse.FromString(answer).frames))
            return answer

        backend.after = count
        first = memory.advance(KEY, block(12), Query(5, Span(0, 12)))
        second = memory.advance(KEY, block(12), Query(5, Span(0, 12)))
        assert sent == [5, 0]
        assert "Fetch" not in backend.calls
        assert [frame.handle for frame in second.frames] == [hit.handle for hit in second.hits]
        assert first.hits == second.hits
        for frame in second.frames:
            assert frame.parts["latent"] == latents(frame.handle.frame, 1)[0]

    def test_the_callers_own_frames_do_not_come_back(self, memory: MemoryClient) -> None:
        self.fill(memory)
        first = memory.advance(KEY, block(12), Query(5, Span(0, 12)))
        known = [first.hits[1].handle]
        second = memory.advance(KEY, block(12), Query(5, Span(0, 12)), known=known)
        assert [frame.handle for frame in second.frames] == [
            hit.handle for hit in second.hits if hit.handle not in known
        ]

    def test_fetched_frames_are_fetched_once(self, memory: MemoryClient, backend: Backend) -> None:
        epoch = self.fill(memory)
        handles = [Handle(KEY, epoch, frame) for frame in (7, 0, 4)]
        memory.fetch(handles)
        backend.calls.clear()
        again = memory.fetch([*handles[::-1], handles[0]], parts=["latent"])
        assert backend.calls == ["GetVideo"]
        assert [frame.handle.frame for frame in again] == [4, 0, 7, 7]
        assert [frame.parts for frame in again] == [{"latent": latents(f, 1)[0]} for f in (4, 0, 7, 7)]

    def test_errors_name_the_handle_of_the_caller(self, memory: MemoryClient) -> None:
        epoch = self.fill(memory)
        handles = [Handle(KEY, epoch, frame) for frame in (0, 1, 99)]
        memory.fetch(handles[:2])
        with pytest.raises(NotFound) as caught:
            memory.fetch(handles)
        assert caught.value.field.startswith("handles[2]")
        with pytest.raises(NotFound) as caught:
            memory.fetch([handles[0], handles[1]], parts=["preview"])
        assert caught.value.field.startswith(("handles[0]", "parts"))

    def test_frames_that_another_client_took_back_are_gone(
        self, memory: MemoryClient, served: tuple[Backend, str]
    ) -> None:
        epoch = self.fill(memory)
        handles = [Handle(KEY, epoch, frame) for frame in range(12)]
        memory.fetch(handles)
        with MemoryClient(served[1]) as other:
            other.truncate_video(KEY, 6)
            other.append(KEY, replace(block(100, 6), start=6))
        with pytest.raises(NotFound):
            memory.fetch([handles[8]])
        assert memory.fetch([handles[5]])[0].parts["latent"] == latents(5, 1)[0]
        hits = memory.advance(KEY, block(12), Query(12, Span(0, 12)), known=handles)
        assert {frame.handle.frame for frame in hits.frames} == set(range(6, 12))
        for frame in hits.frames:
            assert frame.parts["latent"] == latents(94 + frame.handle.frame, 1)[0]

    def test_frames_of_a_video_that_another_client_dropped_are_gone(
        self, memory: MemoryClient, served: tuple[Backend, str]
    ) -> None:
        epoch = self.fill(memory)
        handle = Handle(KEY, epoch, 3)
        memory.fetch([handle])
        with MemoryClient(served[1]) as other:
            other.drop_video(KEY)
        with pytest.raises(NotFound) as caught:
            memory.fetch([handle])
        assert caught.value.field.startswith("handles[0]")

    def test_a_damaged_payload_is_not_kept(self, memory: MemoryClient, backend: Backend) -> None:
        epoch = self.fill(memory)

        def damage(name: str, answer: Any, _context: grpc.ServicerContext) -> Iterator[Any]:
            if name != "Fetch":
                return answer
            return map(self.damaged, answer)

        backend.after = damage
        for _ in range(2):
            with pytest.raises(DataLoss):
                memory.fetch([Handle(KEY, epoch, 0)])
        backend.after = lambda _name, answer, _context: answer
        assert memory.fetch([Handle(KEY, epoch, 0)])[0].parts["latent"] == latents(0, 1)[0]

    @staticmethod
    def damaged(answer: bytes) -> bytes:
        message = pb.FetchResponse.FromString(answer)
        message.frame.payloads[0].crc32c ^= 1
        return message.SerializeToString()


class TestToken:
    @pytest.mark.parametrize("address", ["10.1.2.3:50051", "memory.example:50051", "[2001:db8::1]:1"])
    def test_it_does_not_leave_the_machine_in_clear(self, address: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            MemoryClient(address, token="rvr_a_b")
        assert caught.value.field == "token"
        MemoryClient(address, token="rvr_a_b", insecure_token=True).close()

    @pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/nowhere"])
    def test_it_may_stay_on_it(self, address: str) -> None:
        MemoryClient(address, token="rvr_a_b").close()

    @pytest.mark.parametrize("token", ["", "a\nb", " a", "\u00e9"])
    def test_what_no_header_carries_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            MemoryClient("127.0.0.1:1", token=token)
        assert caught.value.field == "token"


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
