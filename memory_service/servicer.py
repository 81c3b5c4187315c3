"""The RPCs of memory.proto over any `Memory`: unwire, one verb, wire."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import grpc
from google.protobuf.message import Message

from memory_service import bulk, wire
from memory_service.errors import InvalidArgument, TooLarge, Unavailable
from memory_service.limits import Limits
from memory_service.memory import Memory
from memory_service.paging import fill, position, rows_wanted
from memory_service.types import Handle
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceServicer
from memory_service.validate import check_id

MAX_KNOWN_FRAMES = 65_536
"""Most `known_frames` of one Advance; each costs a handle. A caller can hold payloads of far fewer."""

RESERVED_BYTES = 4096
"""Room that a message keeps for its small fields when frames or rows fill the rest."""


class Servicer(MemoryServiceServicer):
    """Serves `memory`, which enforces `limits`; at most `max_fetches` streams at a time.

    A stream holds its thread for as long as its client does not read, so streams must not get every thread.

    Where a request repeats a message, only one more than allowed is unwired: enough for the memory to refuse
    them all, and a request for a million frames costs no million objects.
    """

    def __init__(self, memory: Memory, limits: Limits, *, max_fetches: int) -> None:
        self._memory = memory
        self._limits = limits
        self._budget_bytes = limits.max_message_bytes - RESERVED_BYTES
        self._max_fetches = max_fetches
        self._fetches = threading.BoundedSemaphore(max_fetches)

    def CreateVideo(
        self, request: pb.CreateVideoRequest, context: grpc.ServicerContext
    ) -> pb.CreateVideoResponse:
        _require(request, "key", "spec")
        video = self._memory.create_video(
            wire.key_from_proto(request.key), wire.spec_from_proto(request.spec)
        )
        return pb.CreateVideoResponse(video=wire.video_to_proto(video))

    def GetVideo(self, request: pb.GetVideoRequest, context: grpc.ServicerContext) -> pb.GetVideoResponse:
        _require(request, "key")
        video = self._memory.get_video(wire.key_from_proto(request.key))
        return pb.GetVideoResponse(video=wire.video_to_proto(video))

    def ListVideos(
        self, request: pb.ListVideosRequest, context: grpc.ServicerContext
    ) -> pb.ListVideosResponse:
        max_rows = rows_wanted(request.page_size)
        if request.page_token:
            check_id(request.page_token, "page_token")
        videos = [v for v in self._memory.list_videos(request.pool) if v.key.video > request.page_token]
        page = fill(map(wire.video_to_proto, videos), pb.Video.ByteSize, self._budget_bytes, max_rows)
        token = page[-1].key.video if len(page) < len(videos) else ""
        return pb.ListVideosResponse(videos=page, next_page_token=token)

    def DropVideo(self, request: pb.DropVideoRequest, context: grpc.ServicerContext) -> pb.DropVideoResponse:
        _require(request, "key")
        self._memory.drop_video(wire.key_from_proto(request.key))
        return pb.DropVideoResponse()

    def Append(self, request: pb.AppendRequest, context: grpc.ServicerContext) -> pb.AppendResponse:
        _require(request, "key", "block")
        key, block = wire.key_from_proto(request.key), bulk.block_from_proto(request.block)
        appended = self._memory.append(key, block, epoch=_epoch(request), sync=request.sync)
        return pb.AppendResponse(state=wire.state_to_proto(appended.state), duplicate=appended.duplicate)

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:
        _require(request, "key")
        messages = islice(request.queries, self._limits.max_queries + 1)
        queries = [wire.query_from_proto(message, f"queries[{i}]") for i, message in enumerate(messages)]
        found = self._memory.search(wire.key_from_proto(request.key), queries, log=not request.unlogged)
        return pb.SearchResponse(
            state=wire.state_to_proto(found.state),
            results=[pb.HitList(hits=map(wire.hit_to_proto, hits)) for hits in found.hits],
        )

    def Fetch(self, request: pb.FetchRequest, context: grpc.ServicerContext) -> Iterator[pb.FetchResponse]:
        with self._one_fetch():
            messages = islice(request.handles, self._limits.max_handles + 1)
            handles = [wire.handle_from_proto(message, f"handles[{i}]") for i, message in enumerate(messages)]
            for frame in self._memory.fetch(handles, request.parts[: self._limits.max_parts + 1]):
                response = pb.FetchResponse()
                bulk.put_frame(frame, response.frame)
                yield response

    def Advance(self, request: pb.AdvanceRequest, context: grpc.ServicerContext) -> pb.AdvanceResponse:
        _require(request, "key", "block", "query")
        key, block = wire.key_from_proto(request.key), bulk.block_from_proto(request.block)
        query, known = wire.query_from_proto(request.query, "query"), self._known(request)
        advanced = self._memory.advance(
            key, block, query, known=known, epoch=_epoch(request), sync=request.sync
        )
        response = pb.AdvanceResponse(hits=map(wire.hit_to_proto, advanced.hits))
        response.state.CopyFrom(wire.state_to_proto(advanced.appended.state))
        response.duplicate = advanced.appended.duplicate
        budget_bytes = self._budget_bytes - response.ByteSize()
        for frame in fill(advanced.frames, bulk.frame_bytes, budget_bytes, at_least=0):
            bulk.put_frame(frame, response.frames.add())
        return response

    def ListRetrievals(
        self, request: pb.ListRetrievalsRequest, context: grpc.ServicerContext
    ) -> pb.ListRetrievalsResponse:
        _require(request, "key")
        max_rows, start = rows_wanted(request.page_size), position(request.page_token)
        rows = self._memory.retrievals(wire.key_from_proto(request.key))[start:]
        page = fill(map(wire.retrieval_to_proto, rows), pb.Retrieval.ByteSize, self._budget_bytes, max_rows)
        token = str(start + len(page)) if len(page) < len(rows) else ""
        return pb.ListRetrievalsResponse(retrievals=page, next_page_token=token)

    def ServerInfo(
        self, request: pb.ServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.ServerInfoResponse:
        return wire.info_to_proto(self._memory.info())

    @contextmanager
    def _one_fetch(self) -> Iterator[None]:
        if not self._fetches.acquire(blocking=False):
            raise Unavailable(
                "too many fetches are being read",
                field="handles",
                expected=f"at most {self._max_fetches} streams at a time; try again",
            )
        try:
            yield
        finally:
            self._fetches.release()

    def _known(self, request: pb.AdvanceRequest) -> list[Handle]:
        """`known_frames` as handles of the epoch that the writer names, or of the current one."""
        if len(request.known_frames) > MAX_KNOWN_FRAMES:
            raise TooLarge(
                f"{len(request.known_frames)} known frames",
                field="known_frames",
                expected=f"at most {MAX_KNOWN_FRAMES}",
            )
        if not request.known_frames:
            return []
        for i, frame in enumerate(request.known_frames):
            if frame < 0:
                raise InvalidArgument(
                    f"{frame} is no frame number", field=f"known_frames[{i}]", expected="an integer >= 0"
                )
        key, epoch = wire.key_from_proto(request.key), _epoch(request)
        if epoch is None:
            epoch = self._memory.get_video(key).state.epoch
        return [Handle(key, epoch, frame) for frame in request.known_frames]


def _epoch(request: pb.AppendRequest | pb.AdvanceRequest) -> int | None:
    return request.epoch if request.HasField("epoch") else None


def _require(request: Message, *fields: str) -> None:
    for field in fields:
        if not request.HasField(field):
            raise InvalidArgument(f"{field} is missing", field=field, expected="a message, even if empty")
