"""RPCs of frames: append, search, fetch, advance, and the log of what was retrieved."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import islice

import grpc

from memory_service import wire
from memory_service.errors import InvalidArgument
from memory_service.histories.stored_frame import StoredFrame
from memory_service.local.sessions import LocalSessions
from memory_service.rpcs.base import Rpcs, epoch_of
from memory_service.serving.paging import LogPlace, fill, log_rows, rows_wanted
from memory_service.types import Block, Handle, Retrieval, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.frame_messages import advance_response, fetch_response
from memory_service.wire.requests import Incoming


class FrameRpcs(Rpcs):
    """Append, Search, Fetch, Advance, ListRetrievals, and the local path to them."""

    def Append(self, request: pb.AppendRequest, context: grpc.ServicerContext) -> pb.AppendResponse:
        wire.require(request, "key", "block")
        key = wire.key_from_proto(request.key)
        with self._block(request) as block:
            appended = self._memory.append(key, block, epoch=epoch_of(request), sync=request.sync)
        return pb.AppendResponse(state=wire.state_to_proto(appended.state), duplicate=appended.duplicate)

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:
        wire.require(request, "key")
        messages = islice(request.queries, self._limits.max_queries + 1)
        found = self._memory.search(
            wire.key_from_proto(request.key),
            [wire.query_from_proto(message, f"queries[{i}]") for i, message in enumerate(messages)],
            scope=wire.scope_from_proto(request.scope) if request.HasField("scope") else None,
            log=not request.unlogged,
        )
        return pb.SearchResponse(
            state=wire.state_to_proto(found.state),
            results=[pb.HitList(hits=map(wire.hit_to_proto, hits)) for hits in found.hits],
        )

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        messages = islice(request.handles, self._limits.max_handles + 1)
        handles = [wire.handle_from_proto(message, f"handles[{i}]") for i, message in enumerate(messages)]
        local = self._is_local(request.local_session)
        stored = self._memory.fetch_stored(handles, request.parts[: self._limits.max_parts + 1])
        for number, frame in enumerate(stored):
            _verify(frame, f"handles[{number}]", local=local)
            yield fetch_response(frame, local=local)

    def Advance(self, request: pb.AdvanceRequest, context: grpc.ServicerContext) -> bytes:
        return self._advanced(request)

    def AdvanceStream(
        self, requests: Iterator[pb.AdvanceRequest], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        first: tuple[str, str] | None = None
        for request in requests:
            name = request.key.pool, request.key.video
            if first is not None and name != first:
                raise InvalidArgument(
                    "another video in the same stream", field="key", expected="that of the first request"
                )
            first = name
            answer = self._advanced(request)
            del request  # a caller may think for long about the next one
            yield answer
            del answer

    def _advanced(self, request: pb.AdvanceRequest) -> bytes:
        wire.require(request, "key", "block", "query")
        local = self._is_local(request.local_session)
        key = wire.key_from_proto(request.key)
        with self._block(request) as block:
            known = wire.few(request.known_frames, "known_frames")
            appended, hits, stored = self._memory.advance_stored(
                key,
                block,
                wire.query_from_proto(request.query, "query"),
                known=KnownFrames(key, known) if known else (),
                epoch=epoch_of(request),
                sync=request.sync,
            )
        for frame in stored:
            _verify(frame, "query", local=local)
        return advance_response(appended, hits, stored, self._budget_bytes, local=local)

    def OpenLocal(self, request: pb.OpenLocalRequest, context: grpc.ServicerContext) -> pb.OpenLocalResponse:
        session = self._sessions().open(request.staging_bytes)
        return pb.OpenLocalResponse(
            session=session.name,
            data_dir=str(self._sessions().data_dir),
            staging_path=str(session.path),
            staging_bytes=session.num_bytes,
            proof=session.proof,
            socket_path=str(self._sessions().socket_path),
        )

    def ListRetrievals(
        self, request: pb.ListRetrievalsRequest, context: grpc.ServicerContext
    ) -> pb.ListRetrievalsResponse:
        wire.require(request, "key")
        key, newest_first = wire.key_from_proto(request.key), request.newest_first
        max_rows = rows_wanted(request.page_size)
        place = LogPlace.from_token(request.page_token, newest_first=newest_first)
        if request.skip < 0:
            raise InvalidArgument(f"skip is {request.skip}", field="skip", expected="0 or more")

        def read(start: int, limit: int) -> Sequence[Retrieval]:
            return self._memory.retrievals(key, start=start, limit=limit, newest_first=newest_first)

        rows = log_rows(read, place, request.skip, newest_first=newest_first)
        page, more = fill(rows, lambda row: row[0].ByteSize(), self._budget_bytes, max_rows)
        return pb.ListRetrievalsResponse(
            retrievals=[message for message, _ in page], next_page_token=page[-1][1].token if more else ""
        )

    @contextmanager
    def _block(self, request: pb.AppendRequest | pb.AdvanceRequest | Incoming) -> Iterator[Block]:
        """The block of a request, its payloads read from the caller's staging file where they lie there.

        Such payloads last as long as the `with`.
        """
        apart = request.payloads if isinstance(request, Incoming) else None
        if not request.local_session:
            yield bulk.block_from_proto(request.block, apart=apart)
            return
        with self._sessions().reading(request.local_session) as read:
            yield bulk.block_from_proto(request.block, read, apart)

    def _is_local(self, session: str) -> bool:
        """Whether the caller reads payloads from the reels. Raises InvalidArgument, Unavailable."""
        if session:
            self._sessions().check(session)
        return bool(session)

    def _sessions(self) -> LocalSessions:
        if self._local is None:
            raise InvalidArgument(
                "the local path is not offered", field="local_session", expected="a server with --local-path"
            )
        return self._local


class KnownFrames(Set[Handle]):
    """The handles of a video whose payload a caller holds, named by their frames alone.

    Within the epoch in which a video is, a number names one frame, whichever epoch its handle carries.
    """

    def __init__(self, key: VideoKey, frames: Sequence[int]) -> None:
        """Raises InvalidArgument."""
        self._key = key
        self._frames = frozenset(frames)
        if self._frames and min(self._frames) < 0:
            i, frame = next((i, frame) for i, frame in enumerate(frames) if frame < 0)
            raise InvalidArgument(
                f"{frame} is no frame number", field=f"known_frames[{i}]", expected="an integer >= 0"
            )

    def __contains__(self, handle: object) -> bool:
        return isinstance(handle, Handle) and handle.frame in self._frames and handle.key == self._key

    def __iter__(self) -> Iterator[Handle]:
        raise TypeError("the epochs of these handles are not known")

    def __len__(self) -> int:
        return len(self._frames)


def _verify(frame: StoredFrame, field: str, *, local: bool) -> None:
    """Raises DataLoss. Whoever reads payloads from the reel itself verifies them there."""
    if local:
        frame.verified_vectors(field)
    else:
        frame.verified(field)
