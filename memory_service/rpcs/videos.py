"""RPCs of videos as a whole: their life from creation to drop."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

import grpc

from memory_service import wire
from memory_service.rpcs.base import Rpcs, epoch_of
from memory_service.serving.paging import check_place, fill, rows_wanted
from memory_service.v1 import memory_pb2 as pb


class VideoRpcs(Rpcs):
    """CreateVideo, GetVideo, ListVideos, DropVideo, ForkVideo, TruncateVideo, SealVideo."""

    def CreateVideo(
        self, request: pb.CreateVideoRequest, context: grpc.ServicerContext
    ) -> pb.CreateVideoResponse:
        wire.require(request, "key", "spec")
        video = self._memory.create_video(
            wire.key_from_proto(request.key), wire.spec_from_proto(request.spec)
        )
        return pb.CreateVideoResponse(video=wire.video_to_proto(video))

    def GetVideo(self, request: pb.GetVideoRequest, context: grpc.ServicerContext) -> pb.GetVideoResponse:
        wire.require(request, "key")
        video = self._memory.get_video(wire.key_from_proto(request.key))
        return pb.GetVideoResponse(video=wire.video_to_proto(video))

    def ListVideos(
        self, request: pb.ListVideosRequest, context: grpc.ServicerContext
    ) -> pb.ListVideosResponse:
        max_rows = rows_wanted(request.page_size)
        check_place(request.page_token)
        videos = self._memory.list_videos(request.pool, after=request.page_token, limit=max_rows + 1)
        page, more = fill(map(wire.video_to_proto, videos), pb.Video.ByteSize, self._budget_bytes, max_rows)
        return pb.ListVideosResponse(videos=page, next_page_token=page[-1].key.video if more else "")

    def DropVideo(self, request: pb.DropVideoRequest, context: grpc.ServicerContext) -> pb.DropVideoResponse:
        wire.require(request, "key")
        self._memory.drop_video(wire.key_from_proto(request.key))
        return pb.DropVideoResponse()

    def ForkVideo(self, request: pb.ForkVideoRequest, context: grpc.ServicerContext) -> pb.ForkVideoResponse:
        wire.require(request, "parent", "key")
        video = self._memory.fork_video(
            wire.key_from_proto(request.parent),
            wire.key_from_proto(request.key),
            length=request.length if request.HasField("length") else None,
            epoch=request.parent_epoch if request.HasField("parent_epoch") else None,
            metadata=dict(wire.few(request.metadata, "metadata")) or None,
        )
        return pb.ForkVideoResponse(video=wire.video_to_proto(video))

    def TruncateVideo(
        self, request: pb.TruncateVideoRequest, context: grpc.ServicerContext
    ) -> pb.TruncateVideoResponse:
        wire.require(request, "key")
        key, epoch = wire.key_from_proto(request.key), epoch_of(request)
        video = self._memory.truncate_video(key, request.length, epoch=epoch)
        return pb.TruncateVideoResponse(video=wire.video_to_proto(video))

    def SealVideo(self, request: pb.SealVideoRequest, context: grpc.ServicerContext) -> pb.SealVideoResponse:
        wire.require(request, "key")
        video = self._memory.seal_video(wire.key_from_proto(request.key), epoch=epoch_of(request))
        return pb.SealVideoResponse(video=wire.video_to_proto(video))
