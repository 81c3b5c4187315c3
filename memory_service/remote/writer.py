"""Appends through a connection that a loss of power at the server cannot undo."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from memory_service import wire
from memory_service.errors import DeadlineExceeded, Fenced, InvalidArgument, NotFound, OutOfOrder
from memory_service.remote.connection import Connection
from memory_service.remote.local import LocalOffer
from memory_service.remote.payloads import PayloadCache
from memory_service.remote.retention import Retention
from memory_service.types import Block, VideoKey, VideoState
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.requests import HeldBlock, Outgoing

_MOST_AWAITED = 64
"""Videos of which it is not known whether all is durable; beyond so many the oldest is asked for."""

_COMMIT_POLL_S = 0.02
"""Pause between questions whether a group commit has passed, seconds."""


class Writer:
    """Sends blocks, holds each until it is durable, and sends again what the server has lost.

    A server has lost frames when it shows fewer of them than it had acknowledged in the same epoch. At most
    `budget_bytes` are held. Safe for use by threads: sending a block twice is harmless.
    """

    def __init__(
        self, connection: Connection, budget_bytes: int, payloads: PayloadCache, local: LocalOffer
    ) -> None:
        """`payloads` is told of every state of a video that the server shows."""
        self._local = local
        self._call, self._stub = connection.call, connection.stub
        self._timeout_s = connection.timeout_s
        self._retention = Retention(budget_bytes)
        self._awaited: dict[VideoKey, VideoState] = {}
        self._payloads = payloads

    def observe(self, key: VideoKey, state: VideoState) -> None:
        """Take note of what the server says about a video."""
        self._retention.observe(key, state)
        self._payloads.observe(key, state.epoch)
        awaited = self._awaited.get(key)
        if awaited is not None and (state.epoch != awaited.epoch or state.durable >= awaited.length):
            self._awaited.pop(key, None)

    def forget(self, key: VideoKey) -> None:
        """Let go of a video whose life, or whose epoch, is over."""
        self._retention.forget(key)
        self._payloads.forget(key)
        self._awaited.pop(key, None)

    def forget_pool(self, pool: str) -> None:
        """Let go of all videos of a pool."""
        for key in self._retention.videos():
            if key.pool == pool:
                self.forget(key)
        for key in [key for key in self._awaited if key.pool == pool]:
            self.forget(key)

    def write(self, key: VideoKey, block: Block, request: Any, method: Callable[..., Any]) -> Any:
        """Answer to an AppendRequest or AdvanceRequest, whose `block` and `sync` are filled in here."""
        answer = self._write_local(key, block, request, method)
        if answer is not None:
            return answer
        outgoing = Outgoing(request, block)
        num_bytes = bulk.block_bytes(block)
        request.sync = request.sync or not self._make_room(num_bytes)
        response = self._send(key, block.start, outgoing, method)
        self.keep(key, wire.state_from_proto(response.state), outgoing.held(), num_bytes, block.span.stop)
        return response

    def _write_local(self, key: VideoKey, block: Block, request: Any, method: Callable[..., Any]) -> Any:
        """As `write`, the payloads through a staging file; None where they have to go with the message.

        The block is not held: a loss of power that takes it from the server takes this process as well.
        """
        path = self._local.path()
        if path is None:
            return None
        with path.staged(bulk.payloads_of(block)) as places:
            if places is not None:
                bulk.put_staged_block(block, places, request.block)
                request.local_session = path.session
                try:
                    response = self._send(key, block.start, request, method)
                except InvalidArgument as exc:
                    if exc.field != "local_session":
                        raise
                    self._local.over(path)
                else:
                    state = wire.state_from_proto(response.state)
                    self._awaited[key] = state
                    self.observe(key, state)
                    if len(self._awaited) > _MOST_AWAITED:
                        self._length(next(iter(self._awaited)))  # long committed: asking takes it off
                    return response
        request.block.Clear()
        request.local_session = ""
        return None

    def _send(self, key: VideoKey, start: int, request: Any, method: Callable[..., Any]) -> Any:
        """The answer to a block that starts at frame `start`, what was lost before it sent again."""
        try:
            return self._call(method, request)
        except OutOfOrder as gap:
            if not self.fill_gap(key, gap, start):
                raise
            return self._call(method, request)
        except Fenced:
            self.fenced(key, request.epoch)
            raise

    def crowded(self, num_bytes: int) -> bool:
        """True when no more than this can be held beside what is: append with `sync`."""
        return self._retention.crowded(num_bytes)

    def keep(
        self, key: VideoKey, state: VideoState, block: pb.Block | HeldBlock, num_bytes: int, stop: int
    ) -> None:
        """Hold a block that the server has acknowledged with `state`; it ends at frame `stop`."""
        self._retention.keep(key, state, block, num_bytes, stop)
        self._payloads.observe(key, state.epoch)

    def fill_gap(self, key: VideoKey, gap: OutOfOrder, start: int) -> bool:
        """Send what the server has lost before frame `start`; False where it lost nothing that is held."""
        return gap.expected_start < start and self._replay(key, gap.expected_start)

    def fenced(self, key: VideoKey, epoch: int) -> None:
        """An epoch of a video is over, says the server: what is held of it can never be appended again."""
        held = self._retention.held(key)
        if held is not None and held.epoch == epoch:
            self.forget(key)

    def complete(self, key: VideoKey) -> None:
        """See to it that the server has all that it had acknowledged, where some may not be durable."""
        if self._retention.held(key) is not None:
            self._restore(key)

    def read(self, key: VideoKey, method: Callable[..., Any], request: Any) -> Any:
        """Answer with a `state`, given by a server that has all that it had acknowledged before the call."""
        held = self._retention.held(key)
        response = self._call(method, request)
        state = wire.state_from_proto(response.state)
        if held and state.epoch == held.epoch and state.length < held.stop:
            self._replay(key, state.length)
            response = self._call(method, request)
        self.observe(key, wire.state_from_proto(response.state))
        return response

    def restore(self, keys: Sequence[VideoKey]) -> bool:
        """Send again whatever the server lacks of these videos; False when it lacks nothing that is held."""
        return sum(map(self._restore, keys)) > 0

    def settle(self) -> None:
        """Make durable all that is held."""
        for key in self._retention.videos():
            self._restore(key)
            held = self._retention.held(key)
            if held:  # the last block again, with `sync`: an append is durable only when all before it is
                self._resend(key, held.epoch, held.blocks[-1], sync=True)
        if self._local.becomes_durable:
            self._await_durable()

    def _await_durable(self) -> None:
        """Wait for the server's commit of blocks that are not held. Raises DeadlineExceeded."""
        deadline = time.monotonic() + self._timeout_s
        while self._awaited:
            for key in list(self._awaited):
                self._length(key)
                if self._awaited and time.monotonic() > deadline:
                    raise DeadlineExceeded("the server has not made everything durable in time")
            if self._awaited:
                time.sleep(_COMMIT_POLL_S)

    def _make_room(self, num_bytes: int) -> bool:
        """True when a block of this size may be held, by the newest watermarks if need be."""
        if self._retention.crowded(num_bytes):
            for key in self._retention.videos():
                self._length(key)
        return not self._retention.crowded(num_bytes)

    def _restore(self, key: VideoKey) -> bool:
        held, length = self._retention.held(key), self._length(key)
        return held is not None and length is not None and length < held.stop and self._replay(key, length)

    def _length(self, key: VideoKey) -> int | None:
        """Frames that the server has of a video, observed; None when the life that is held of it is over."""
        held = self._retention.held(key)
        try:
            response = self._call(self._stub.GetVideo, pb.GetVideoRequest(key=wire.key_to_proto(key)))
        except NotFound:
            self.forget(key)
            return None
        state = wire.state_from_proto(response.video.state)
        if held and held.epoch != state.epoch:
            self.forget(key)
            return None
        self.observe(key, state)
        return state.length

    def _replay(self, key: VideoKey, start: int) -> bool:
        """Send what is held from frame `start` on; False when that is nothing or of a life gone by."""
        held = self._retention.held(key)
        starts = [block.start for block in held.blocks] if held else []
        if held is None or start not in starts:
            return False
        try:
            for block in held.blocks[starts.index(start) :]:
                self._resend(key, held.epoch, block)
        except (Fenced, NotFound):
            self.forget(key)
            return False
        return True

    def _resend(self, key: VideoKey, epoch: int, block: pb.Block | HeldBlock, sync: bool = False) -> None:
        message = block.message() if isinstance(block, HeldBlock) else block
        request = pb.AppendRequest(key=wire.key_to_proto(key), epoch=epoch, block=message, sync=sync)
        response = self._call(self._stub.Append, request)
        self.observe(key, wire.state_from_proto(response.state))
