"""Appends without waiting for answers: AppendStream, from the side of the client."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from memory_service import wire
from memory_service.errors import DeadlineExceeded, Fenced, OutOfOrder, ServiceError, Unavailable
from memory_service.remote import connection
from memory_service.remote.connection import Connection
from memory_service.remote.window import Pending, Window
from memory_service.remote.writer import Writer
from memory_service.types import Appended, Block, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.status import from_rpc_error

MAX_BLOCKS = 32
MAX_BYTES = 32 << 20
"""Most blocks, and bytes of blocks, that are on their way at a time."""


class Pipeline:
    """One `append_stream`: a thread reads the caller's iterable, gRPC sends, the caller takes the answers.

    A stream that breaks is opened again, and what had no answer is sent again: an append is idempotent. The
    epoch of the first answer holds from then on, so that nothing is appended to another life of the video.
    """

    def __init__(
        self, link: Connection, writer: Writer, key: VideoKey, *, epoch: int | None, sync: bool
    ) -> None:
        self._link = link
        self._writer = writer
        self._key = key
        self._head = wire.fill(pb.AppendStreamRequest(key=wire.key_to_proto(key)), epoch=epoch)
        self._sync = sync
        self._window = Window(MAX_BLOCKS, MAX_BYTES)
        self._failure: BaseException | None = None

    def run(self, blocks: Iterable[Block]) -> Iterator[Appended]:
        """Answers in the order of the blocks. Raises ServiceError, and what `blocks` raises."""
        feeder = threading.Thread(target=self._feed, args=(blocks,), name="append-feeder", daemon=True)
        feeder.start()
        pauses, broken_since = connection.pauses(), None
        try:
            while self._window.wait():
                try:
                    for appended in self._attempt():
                        pauses, broken_since = connection.pauses(), None
                        yield appended
                except ServiceError as error:
                    now = time.monotonic()
                    since = broken_since or now
                    # A stream that broke while nothing was on its way has failed nobody yet.
                    broken_since = since if self._window.first is not None else None
                    self._mend(error, next(pauses), since + self._link.timeout_s)
            if self._failure is not None:
                raise self._failure
        finally:
            self._window.close()

    def _feed(self, blocks: Iterable[Block]) -> None:
        try:
            for block in blocks:
                request = pb.AppendStreamRequest()
                bulk.put_block(block, request.block)
                num_bytes = bulk.block_bytes(block)
                request.sync = self._sync or self._writer.crowded(self._window.num_bytes + num_bytes)
                if not self._window.add(Pending(request, num_bytes, block.span.stop)):
                    return
        except BaseException as exc:  # raised to the caller, after the answers to the blocks before
            self._failure = exc
        finally:
            self._window.finish()

    def _attempt(self) -> Iterator[Appended]:
        """The answers of one stream. Raises ServiceError; what has had no answer is still in the window."""
        over, late = threading.Event(), threading.Event()
        call = self._link.start(self._link.stub.AppendStream, self._requests(over))
        guard = threading.Thread(
            target=self._guard, args=(call, over, late), name="append-guard", daemon=True
        )
        guard.start()
        try:
            while (response := self._next(call)) is not None:
                yield self._acknowledged(response)
        except grpc.RpcError as exc:
            if late.is_set():
                raise DeadlineExceeded(f"a block had no answer within {self._link.timeout_s} s") from exc
            raise from_rpc_error(exc) from exc
        finally:
            over.set()
            self._window.wake()
            call.cancel()
        if self._window.first is not None:
            raise Unavailable("the server ended the stream before its time")

    def _next(self, call: Any) -> pb.AppendStreamResponse | None:
        with self._window.waiting():
            response: pb.AppendStreamResponse | None = next(call, None)
        return response

    def _guard(self, call: Any, over: threading.Event, late: threading.Event) -> None:
        """Give a call up when an answer is overdue: a stream has no deadline of its own."""
        while not over.wait(self._link.timeout_s - self._window.waited_s()):
            if self._window.waited_s() >= self._link.timeout_s:
                late.set()
                call.cancel()
                return

    def _requests(self, over: threading.Event) -> Iterator[pb.AppendStreamRequest]:
        first = True
        for pending in self._window.sending(over):
            if first:
                pending.request.MergeFrom(self._head)
                first = False
            yield pending.request

    def _acknowledged(self, response: pb.AppendStreamResponse) -> Appended:
        pending, state = self._window.acknowledge(), wire.state_from_proto(response.state)
        self._head.epoch = state.epoch
        self._writer.keep(self._key, state, pending.request.block, pending.num_bytes, pending.stop)
        return Appended(state, response.duplicate)

    def _mend(self, error: ServiceError, pause_s: float, deadline: float) -> None:
        """Do what makes another attempt worth while, or raise the error."""
        first = self._window.first
        if isinstance(error, Fenced):
            self._writer.fenced(self._key, self._head.epoch)
        if isinstance(error, OutOfOrder) and first is not None:
            if not self._writer.fill_gap(self._key, error, first.request.block.start):
                raise error
            return
        wait_s = None if self._link.closed else connection.pause_before(error, pause_s)
        if wait_s is None or time.monotonic() + wait_s >= deadline:
            raise error
        time.sleep(wait_s)
