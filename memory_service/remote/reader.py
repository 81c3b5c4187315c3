"""Payloads from a server or, where they were fetched before, from memory."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from memory_service import wire
from memory_service.errors import InvalidArgument, NotFound, ServiceError
from memory_service.remote.connection import Connection
from memory_service.remote.local import LocalOffer
from memory_service.remote.local_path import read_of
from memory_service.remote.payloads import PayloadCache
from memory_service.remote.writer import Writer
from memory_service.types import Frame, Handle, Query, VideoKey
from memory_service.v1 import memory_pb2 as pb

_NUMBERED = re.compile(r"handles\[(\d+)\]")


class _Unreadable(Exception):
    """A payload cannot be read from the server's file, whatever the reason."""


class Reader:
    """Fetches frames and holds what it fetched. Safe for use by threads."""

    def __init__(
        self, connection: Connection, writer: Writer, payloads: PayloadCache, local: LocalOffer
    ) -> None:
        self._connection = connection
        self._local = local
        self._writer = writer
        self._payloads = payloads

    def fetch(self, handles: Sequence[Handle], parts: Sequence[str]) -> list[Frame]:
        """See `Memory.fetch`. What the server lacks and a writer of this client holds is sent there first."""
        held = self._held(handles, parts)
        numbers = [number for number, handle in enumerate(handles) if handle not in held]
        wanted = [handles[number] for number in numbers]
        if held and not wanted:
            return [held[handle] for handle in handles]
        try:
            try:
                frames = self._fetch(wanted, parts)
            except NotFound:
                if not self._writer.restore(list({handle.key for handle in wanted})):
                    raise
                frames = self._fetch(wanted, parts)
        except ServiceError as exc:
            _renumber(exc, numbers)
            raise
        fetched = dict(zip(numbers, frames, strict=True))
        return [fetched.get(number) or held[handle] for number, handle in enumerate(handles)]

    def known_frames(self, key: VideoKey, query: Query, known: Collection[Handle]) -> list[int]:
        """The frames that a query may hit and whose payload is here or, by `known`, with the caller."""
        span, pinned = query.eligible, query.policy.pinned_frames
        frames = set(self._payloads.frames(key, span))
        for handle in known:
            if handle.key == key and (span.start <= handle.frame < span.stop or handle.frame in pinned):
                frames.add(handle.frame)
        return list(frames)

    def completed(
        self, wanted: Sequence[Handle], came: Sequence[Frame], known: Collection[Handle], epoch: int | None
    ) -> tuple[Frame, ...]:
        """The frames of `wanted` that are not in `known`, from those that came, from here, or fetched.

        `epoch` is the one in which their video was known to be when they were asked for.
        """
        for frame in came:
            self._payloads.put(frame, epoch)
        if not known and [frame.handle for frame in came] == wanted:
            return tuple(came)
        frames = {frame.handle: frame for frame in came}
        callers = frozenset(known)
        rest = [handle for handle in wanted if handle not in frames and handle not in callers]
        for handle in rest:
            held = self._payloads.get(handle)
            if held is not None:
                frames[handle] = held
        missing = [handle for handle in rest if handle not in frames]
        if missing:
            frames |= {frame.handle: frame for frame in self.fetch(missing, ())}
        return tuple(frames[handle] for handle in wanted if handle in frames)

    def _held(self, handles: Sequence[Handle], parts: Sequence[str]) -> dict[Handle, Frame]:
        """What of `handles` is here, of videos that are still in the epoch in which it was fetched."""
        held = {handle: frame for handle in set(handles) if (frame := self._payloads.get(handle)) is not None}
        for key in {handle.key for handle in held}:
            request = pb.GetVideoRequest(key=wire.key_to_proto(key))
            try:
                response = self._connection.call(self._connection.stub.GetVideo, request)
            except NotFound:
                self._payloads.forget(key)
            else:
                self._writer.observe(key, wire.state_from_proto(response.video.state))
        cut = {}
        for handle in held:
            frame = self._payloads.get(handle)
            if frame is not None and len(parts) <= len(frame.parts) and set(parts) <= set(frame.parts):
                chosen = {name: frame.parts[name] for name in parts or frame.parts}
                cut[handle] = replace(frame, parts=chosen)
        return cut

    def _fetch(self, handles: Sequence[Handle], parts: Sequence[str]) -> list[Frame]:
        messages = [wire.handle_to_proto(handle, f"handles[{i}]") for i, handle in enumerate(handles)]
        epochs = {key: self._payloads.epoch(key) for key in {handle.key for handle in handles}}
        path = self._local.path()
        frames: list[Frame] = []
        first = 0

        def attempt(seconds: float) -> None:
            # A stream that broke off goes on with the frame after the last one that came.
            nonlocal first
            first = len(frames)
            rest = pb.FetchRequest(handles=messages[first:], parts=parts)
            if path is not None:
                rest.local_session = path.session
            for answer in self._connection.fetch(rest, timeout=seconds, metadata=self._connection.metadata):
                frame = answer.frame(read_of(path))
                if frame is None:
                    raise _Unreadable
                frames.append(frame)

        try:
            try:
                self._connection.repeat(attempt)
            except _Unreadable:
                path = None
                self._connection.repeat(attempt)
            except InvalidArgument as exc:
                if path is None or exc.field != "local_session":
                    raise
                self._local.over(path)
                path = self._local.path()
                self._connection.repeat(attempt)
        except ServiceError as exc:
            _renumber(exc, range(first, len(handles)))
            raise
        if not parts:
            for frame in frames:
                self._payloads.put(frame, epochs[frame.handle.key])
        return frames


def _renumber(error: ServiceError, numbers: Sequence[int]) -> None:
    """Let an error about the i-th handle of a request name the caller's handle `numbers[i]`."""
    error.field = _NUMBERED.sub(lambda found: f"handles[{numbers[int(found[1])]}]", error.field)
