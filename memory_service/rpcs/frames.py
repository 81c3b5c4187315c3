"""RPCs of frames: append, search, fetch, advance, and the log of what was retrieved."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

from collections.abc import Iterator, Sequence, Set
from itertools import islice

import grpc

from memory_service import bulk, wire
from memory_service.errors import InvalidArgument
from memory_service.paging import LogPlace, fill, log_rows, rows_wanted
from memory_service.rpcs.base import Rpcs
from memory_service.types import Handle, Retrieval, VideoKey
from memory_service.v1 import memory_pb2 as pb


class FrameRpcs(Rpcs):
    """Append, Search, Fetch, Advance, ListRetrievals."""

    def Append(self, request: pb.AppendRequest, context: grpc.ServicerContext) -> pb.AppendResponse:
        wire.require(request, "key", "block")
        key, block = wire.key_from_proto(request.key), bulk.block_from_proto(request.block)
        appended = self._memory.append(key, block, epoch=_epoch(request), sync=request.sync)
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

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[pb.FetchResponse]:
        messages = islice(request.handles, self._limits.max_handles + 1)
        handles = [wire.handle_from_proto(message, f"handles[{i}]") for i, message in enumerate(messages)]
        for frame in self._memory.fetch(handles, request.parts[: self._limits.max_parts + 1]):
            response = pb.FetchResponse()
            bulk.put_frame(frame, response.frame)
            yield response

    def Advance(self, request: pb.AdvanceRequest, context: grpc.ServicerContext) -> pb.AdvanceResponse:
        wire.require(request, "key", "block", "query")
        key, block = wire.key_from_proto(request.key), bulk.block_from_proto(request.block)
        advanced = self._memory.advance(
            key,
            block,
            wire.query_from_proto(request.query, "query"),
            known=KnownFrames(key, wire.few(request.known_frames, "known_frames")),
            epoch=_epoch(request),
            sync=request.sync,
        )
        response = pb.AdvanceResponse(hits=map(wire.hit_to_proto, advanced.hits))
        response.state.CopyFrom(wire.state_to_proto(advanced.appended.state))
        response.duplicate = advanced.appended.duplicate
        budget_bytes = self._budget_bytes - response.ByteSize()
        for frame in fill(advanced.frames, bulk.frame_bytes, budget_bytes, at_least=0)[0]:
            bulk.put_frame(frame, response.frames.add())
        return response

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


def _epoch(request: pb.AppendRequest | pb.AdvanceRequest) -> int | None:
    return request.epoch if request.HasField("epoch") else None
