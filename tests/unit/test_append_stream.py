"""Appends in a pipeline: what is on its way when a server goes, stalls or refuses."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backend import Backend, fail
from samples import KEY, SPEC, assert_frames, block, latents, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Fenced,
    InvalidArgument,
    OutOfOrder,
    Overloaded,
    Sealed,
    Unavailable,
)
from memory_service.remote import pipeline
from memory_service.remote.window import Pending, Window
from memory_service.server import Server
from memory_service.types import Appended, Block
from memory_service.v1 import memory_pb2 as pb


@pytest.fixture
def memory(served: tuple[Backend, str]) -> Iterator[MemoryClient]:
    with MemoryClient(served[1], timeout_s=5) as client:
        client.create_video(KEY, SPEC)
        yield client


def blocks(stop: int, start: int = 0) -> list[Block]:
    return [block(at) for at in range(start, stop, 3)]


def lengths(answers: list[Appended]) -> list[int]:
    return [answer.state.length for answer in answers]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("append-")}


def gone(seconds: float = 5.0) -> bool:
    """Whether the threads of all streams end."""
    until = time.monotonic() + seconds
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


class TestPipeline:
    def test_answers_come_in_order(self, memory: MemoryClient) -> None:
        answers = list(memory.append_stream(KEY, blocks(600)))
        assert lengths(answers) == list(range(3, 603, 3))
        assert not any(answer.duplicate for answer in answers)
        assert_frames(memory, 0, 600)
        assert gone()

    def test_blocks_run_ahead_of_their_answers_but_not_far(
        self, memory: MemoryClient, backend: Backend
    ) -> None:
        taken: list[int] = []
        held = threading.Event()

        def source() -> Iterator[Block]:
            for one in blocks(3 * 500):
                taken.append(one.start)
                yield one

        def hold(name: str, answer: Any, _context: Any) -> Any:
            return slow(answer) if name == "AppendStream" else answer

        def slow(answers: Iterator[Any]) -> Iterator[Any]:
            held.wait(4)
            yield from answers

        backend.after = hold
        stream = memory.append_stream(KEY, source())
        reader = threading.Thread(target=lambda: next(stream), daemon=True)
        reader.start()
        time.sleep(0.5)
        ahead = len(taken)
        held.set()
        reader.join()
        assert 3 < ahead <= pipeline.MAX_BLOCKS + 2
        rest = list(stream)
        assert len(rest) == 499

    def test_an_answer_does_not_wait_for_the_next_block(self, memory: MemoryClient) -> None:
        """A source that waits for the answer to what it has given is no deadlock."""
        answered = threading.Semaphore(1)

        def source() -> Iterator[Block]:
            for one in blocks(15):
                assert answered.acquire(timeout=4)
                yield one

        for _ in memory.append_stream(KEY, source()):
            answered.release()
        assert state(memory).length == 15

    def test_sync_holds_for_every_block(self, memory: MemoryClient) -> None:
        for answer in memory.append_stream(KEY, blocks(15), sync=True):
            assert answer.state.durable == answer.state.length

    def test_what_is_held_is_bounded(self, served: tuple[Backend, str]) -> None:
        """Without room to hold blocks until they are durable, each is durable when it is answered."""
        with MemoryClient(served[1], retain_bytes=0) as memory:
            memory.create_video(KEY, SPEC)
            for answer in memory.append_stream(KEY, blocks(15)):
                assert answer.state.durable == answer.state.length

    def test_it_may_be_left_early(self, memory: MemoryClient) -> None:
        stream = memory.append_stream(KEY, blocks(3000))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert gone()
        length = state(memory).length
        assert 3 <= length < 3000
        assert lengths(list(memory.append_stream(KEY, blocks(3000, length))))[-1] == 3000

    def test_nobody_waits_for_a_slow_caller(self, served: tuple[Backend, str]) -> None:
        """Time that the caller takes for itself is no time without an answer."""
        with MemoryClient(served[1], timeout_s=0.5) as memory:
            memory.create_video(KEY, SPEC)
            for _ in memory.append_stream(KEY, blocks(9)):
                time.sleep(0.8)
            assert state(memory).length == 9


class TestErrors:
    def test_the_first_one_ends_it(self, memory: MemoryClient) -> None:
        stream = memory.append_stream(KEY, [block(0), block(3), block(12), block(6)])
        assert next(stream).state.length == 3
        assert next(stream).state.length == 6
        with pytest.raises(OutOfOrder) as caught:
            next(stream)
        assert caught.value.expected_start == 6
        assert state(memory).length == 6
        assert gone()

    def test_what_cannot_be_sent_comes_after_the_answers_before_it(self, memory: MemoryClient) -> None:
        bad = Block(6, block(6).embeddings.astype("f8"), {"latent": latents(6)})
        stream = memory.append_stream(KEY, [block(0), block(3), bad])
        assert [next(stream).state.length, next(stream).state.length] == [3, 6]
        with pytest.raises(InvalidArgument) as caught:
            next(stream)
        assert caught.value.field == "block.embeddings"

    def test_errors_of_the_source_are_the_callers(self, memory: MemoryClient) -> None:
        def source() -> Iterator[Block]:
            yield block(0)
            raise ZeroDivisionError

        stream = memory.append_stream(KEY, source())
        assert next(stream).state.length == 3
        with pytest.raises(ZeroDivisionError):
            next(stream)

    def test_other_bytes(self, memory: MemoryClient) -> None:
        memory.append(KEY, block(0))
        with pytest.raises(AlreadyExists):
            list(memory.append_stream(KEY, [Block(0, block(0).embeddings, {"latent": latents(9)})]))

    def test_an_epoch_that_is_over(self, memory: MemoryClient) -> None:
        epoch = memory.append(KEY, block(0)).state.epoch
        memory.truncate_video(KEY, 0)
        with pytest.raises(Fenced):
            list(memory.append_stream(KEY, blocks(9), epoch=epoch))
        with pytest.raises(InvalidArgument):
            memory.append_stream(KEY, blocks(9), epoch=-1)

    def test_a_sealed_video(self, memory: MemoryClient) -> None:
        memory.append(KEY, block(0))
        memory.seal_video(KEY)
        stream = memory.append_stream(KEY, blocks(6))
        assert next(stream).duplicate
        with pytest.raises(Sealed):
            next(stream)

    def test_a_client_that_is_closed(self, served: tuple[Backend, str]) -> None:
        memory = MemoryClient(served[1])
        memory.create_video(KEY, SPEC)
        stream = memory.append_stream(KEY, blocks(3000))
        next(stream)
        memory.close()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            list(stream)
        with pytest.raises(Unavailable, match="closed"):
            list(memory.append_stream(KEY, blocks(3)))
        assert time.monotonic() - began < 2
        assert gone()


class TestResume:
    def test_a_stream_that_breaks_goes_on(self, memory: MemoryClient, backend: Backend) -> None:
        """Each stream is cut after some answers, some of which are lost: each block counts once."""
        calls: list[int] = []

        def cut(name: str, answer: Any, _context: Any) -> Any:
            if name != "AppendStream":
                return answer
            calls.append(0)
            return self.cut_after(answer, 7 * len(calls))

        backend.after = cut
        answers = list(memory.append_stream(KEY, blocks(300)))
        assert len(calls) > 3
        assert len(answers) == 100
        assert state(memory).length == 300
        assert_frames(memory, 0, 300)
        assert any(answer.duplicate for answer in answers)
        assert gone()

    @staticmethod
    def cut_after(answers: Iterator[Any], count: int) -> Iterator[Any]:
        """Lets `count` answers through; the next is appended, and its answer lost."""
        for _ in range(count):
            try:
                yield next(answers)
            except StopIteration:
                return
        next(answers, None)
        raise Unavailable("cut off")

    def test_it_waits_as_an_overloaded_server_asks(self, memory: MemoryClient, backend: Backend) -> None:
        backend.before = fail(2, Overloaded("full", details={"retry_after_ms": "200"}))
        began = time.monotonic()
        assert len(list(memory.append_stream(KEY, blocks(9)))) == 3
        assert time.monotonic() - began > 0.4

    def test_it_does_not_go_on_in_another_life(self, memory: MemoryClient, backend: Backend) -> None:
        """Broken, and the video truncated meanwhile: the writer is fenced, though it named no epoch."""
        first = threading.Event()

        def cut(name: str, answer: Any, _context: Any) -> Any:
            if name != "AppendStream" or first.is_set():
                return answer
            first.set()
            return self.truncated_and_cut(answer, backend)

        backend.after = cut
        stream = memory.append_stream(KEY, blocks(30))
        assert next(stream).state.length == 3
        with pytest.raises(Fenced):
            list(stream)
        assert state(memory).length == 0

    @staticmethod
    def truncated_and_cut(answers: Iterator[Any], backend: Backend) -> Iterator[Any]:
        yield next(answers)
        backend.engine.truncate_video(KEY, 0)
        raise Unavailable("cut off")

    def test_a_source_that_is_slower_than_the_servers_patience(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The server hangs up on streams on which nothing comes; the next block opens another."""
        config = ServiceConfig(
            data_dir=tmp_path / "data", address="127.0.0.1:0", stream_idle_s=0.3, idle_s=0.3
        )
        server = Server(config)
        server.start()
        caplog.set_level(logging.INFO, "memory_service.requests")

        def source() -> Iterator[Block]:
            for one in blocks(9):
                time.sleep(1.5)
                yield one

        with MemoryClient(server.address, timeout_s=1) as memory:
            memory.create_video(KEY, SPEC)
            answers = list(memory.append_stream(KEY, source()))
        server.stop()
        assert lengths(answers) == [3, 6, 9]
        lines = [one.getMessage() for one in caplog.records if one.name == "memory_service.requests"]
        assert sum("method=AppendStream" in line for line in lines) == 3, lines

    def test_it_outlives_a_server_that_is_killed(self, tmp_path: Path) -> None:
        where = f"unix:{tmp_path / 'socket'}"
        first = ServerProcess(tmp_path / "data", where)
        with MemoryClient(where, timeout_s=30) as memory:
            memory.create_video(KEY, SPEC)
            stream = memory.append_stream(KEY, blocks(3000))
            answers = [next(stream) for _ in range(100)]
            first.kill()
            with ServerProcess(tmp_path / "data", where):
                answers += list(stream)
                assert len(answers) == 1000
                assert lengths(answers)[-1] == state(memory).length == 3000
                assert_frames(memory, 0, 3000)
                memory.close()
        assert gone()

    def test_a_server_that_is_silent_is_given_up(self, tmp_path: Path) -> None:
        with (
            ServerProcess(tmp_path / "data", "127.0.0.1:0") as server,
            MemoryClient(server.address, timeout_s=2) as memory,
        ):
            memory.create_video(KEY, SPEC)
            stream = memory.append_stream(KEY, blocks(3000))
            next(stream)
            os.kill(server.pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                list(stream)
            assert 1.5 < time.monotonic() - began < 8
            os.kill(server.pid, signal.SIGCONT)
            assert gone()
            length = state(memory).length
            assert length % 3 == 0
            assert_frames(memory, 0, min(length, 300))


class TestWindow:
    @staticmethod
    def pending(num_bytes: int = 10) -> Pending:
        return Pending(pb.AppendStreamRequest(), num_bytes, 3)

    def test_it_takes_one_block_whatever_its_size(self) -> None:
        window = Window(4, 100)
        assert window.add(self.pending(1000))
        assert window.num_bytes == 1000
        window.close()
        assert not window.add(self.pending(1))

    def test_each_attempt_begins_with_the_oldest(self) -> None:
        window = Window(9, 100)
        some = [self.pending() for _ in range(4)]
        for one in some:
            window.add(one)
        window.finish()
        over = threading.Event()
        assert list(window.sending(over)) == some
        assert window.acknowledge() is some[0]
        assert list(window.sending(over)) == some[1:]
        over.set()
        assert list(window.sending(over)) == []
        assert window.wait()
        for _ in some[1:]:
            window.acknowledge()
        assert not window.wait()
        assert window.num_bytes == 0
