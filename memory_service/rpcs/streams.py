"""RPCs that stream: blocks in, events out, whole videos either way."""
# ruff: noqa: N802 -- names and signatures are gRPC's

from collections.abc import Iterator
from contextlib import closing

import grpc

from memory_service import wire
from memory_service.cancellation import check, waking
from memory_service.errors import InvalidArgument, Unavailable
from memory_service.rpcs.base import Rpcs, epoch_of
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.admission import ADMITTED


class StreamRpcs(Rpcs):
    """AppendStream, ExportVideo, ImportVideo, Watch."""

    def AppendStream(
        self,
        requests: Iterator[pb.AppendStreamRequest],
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> Iterator[pb.AppendStreamResponse]:
        first: pb.AppendStreamRequest | None = None
        for request in requests:
            if first is None:
                wire.require(request, "key")
                first = pb.AppendStreamRequest(key=request.key, epoch=epoch_of(request))
            _check_repeats(first, request)
            wire.require(request, "block")
            appended = self._memory.append(
                wire.key_from_proto(first.key),
                bulk.block_from_proto(request.block),
                epoch=epoch_of(first),
                sync=request.sync,
            )
            yield pb.AppendStreamResponse(
                state=wire.state_to_proto(appended.state), duplicate=appended.duplicate
            )

    def ExportVideo(
        self,
        request: pb.ExportVideoRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> Iterator[pb.ExportVideoResponse]:
        wire.require(request, "key")
        for chunk in self._memory.export_video(wire.key_from_proto(request.key)):
            for start in range(0, len(chunk), self._budget_bytes):
                yield pb.ExportVideoResponse(data=chunk[start : start + self._budget_bytes])

    def ImportVideo(
        self, requests: Iterator[pb.ImportVideoRequest], context: grpc.ServicerContext
    ) -> pb.ImportVideoResponse:
        # Tells the client that the server has room for it: a reel is not spent on a call that is refused.
        context.send_initial_metadata((ADMITTED,))
        first = next(iter(requests), pb.ImportVideoRequest())
        wire.require(first, "key")
        expected = wire.spec_from_proto(first.expected, "expected") if first.HasField("expected") else None
        key = wire.key_from_proto(first.key)
        video = self._memory.import_video(key, _data(first, requests), expected=expected)
        return pb.ImportVideoResponse(video=wire.video_to_proto(video))

    def Watch(
        self,
        request: pb.WatchRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> Iterator[pb.WatchResponse]:
        watching = self._memory.watch(request.pool, request.video)
        # A watcher waits for events, for hours where nothing happens: the end of the call must wake it.
        with closing(watching), waking(watching.close):
            for event in watching:
                yield pb.WatchResponse(event=wire.event_to_proto(event))
        check()
        raise Unavailable("the memory has been closed; nothing more will happen in it")


def _check_repeats(first: pb.AppendStreamRequest, request: pb.AppendStreamRequest) -> None:
    """Raises InvalidArgument where a request names another video or epoch than the first of its stream."""
    if request.HasField("key") and request.key != first.key:
        raise InvalidArgument(
            "another video in the same stream", field="key", expected="none, or the first one"
        )
    if request.HasField("epoch") and epoch_of(request) != epoch_of(first):
        raise InvalidArgument(
            "another epoch in the same stream", field="epoch", expected="none, or the first one"
        )


def _data(first: pb.ImportVideoRequest, rest: Iterator[pb.ImportVideoRequest]) -> Iterator[bytes]:
    yield first.data
    for request in rest:
        for name in ("key", "expected"):
            if request.HasField(name):
                raise InvalidArgument(f"{name} comes twice", field=name, expected="in the first request only")
        yield request.data
