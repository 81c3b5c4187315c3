"""Verbs of videos as a whole: their life from creation to drop."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from memory_service import wire
from memory_service.errors import AlreadyExists, ServiceError
from memory_service.remote.pools import gone
from memory_service.remote.reels import receive_reel, send_reel
from memory_service.remote.verbs import Verbs, rows_wanted
from memory_service.types import Buffer, Parent, VideoInfo, VideoKey, VideoSpec
from memory_service.v1 import memory_pb2 as pb


class VideoVerbs(Verbs):
    """The verbs of `Memory` that are about one video as a whole, and the list of them."""

    def create_video(self, key: VideoKey, spec: VideoSpec) -> VideoInfo:
        """Create a video, or get the one that is there with the same spec.

        Raises AlreadyExists when it is there with another spec, InvalidArgument on a bad id or spec,
        Exhausted where the quota allows no more videos.
        """
        request = pb.CreateVideoRequest(key=wire.key_to_proto(key), spec=wire.spec_to_proto(spec))
        return self._seen(self._call(self._stub.CreateVideo, request).video)

    def get_video(self, key: VideoKey) -> VideoInfo:
        """Spec and state of a video. Raises NotFound."""
        request = pb.GetVideoRequest(key=wire.key_to_proto(key))
        return self._seen(self._call(self._stub.GetVideo, request).video)

    def list_videos(self, pool: str, *, after: str = "", limit: int | None = None) -> Sequence[VideoInfo]:
        """The first `limit` (None: all) videos of a pool whose names come after `after`, by name."""
        request = wire.fill(pb.ListVideosRequest(), pool=pool, page_token=after)
        videos: list[VideoInfo] = []
        while True:
            wire.fill(request, page_size=rows_wanted(limit, len(videos)))
            response = self._call(self._stub.ListVideos, request)
            videos += map(wire.video_from_proto, response.videos)
            request.page_token = response.next_page_token
            if not request.page_token or (limit is not None and len(videos) >= limit):
                return videos[:limit]

    def drop_video(self, key: VideoKey) -> None:
        """Forget a video and all its frames. Raises NotFound."""
        request = pb.DropVideoRequest(key=wire.key_to_proto(key))
        self._call(self._stub.DropVideo, request, recover=gone)
        self._writer.forget(key)

    def fork_video(
        self,
        parent: VideoKey,
        key: VideoKey,
        *,
        length: int | None = None,
        epoch: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> VideoInfo:
        """A new video `key` with the first `length` frames (None: all) of `parent`, no payload copied.

        Raises InvalidArgument, NotFound, Fenced, AlreadyExists, Exhausted.
        """
        request = pb.ForkVideoRequest(parent=wire.key_to_proto(parent, "parent"), key=wire.key_to_proto(key))
        wire.fill(request, length=length, parent_epoch=epoch)
        wire.update(request.metadata, metadata or {}, "metadata")

        def forked(error: ServiceError) -> pb.ForkVideoResponse:
            """Without `length` or `epoch` a second fork may differ from the first, whose answer was lost."""
            if isinstance(error, AlreadyExists):
                there = self.get_video(key)
                if _is_fork(there.parent, parent, length, epoch):
                    return pb.ForkVideoResponse(video=wire.video_to_proto(there))
            raise error

        self._writer.complete(parent)
        return self._seen(self._call(self._stub.ForkVideo, request, recover=forked).video)

    def truncate_video(self, key: VideoKey, length: int, *, epoch: int | None = None) -> VideoInfo:
        """Roll back to the first `length` frames and start a new epoch; durable when this returns.

        Without `epoch` it is that of the moment, asked for first: tried again with the next one, a truncation
        would take what others have written since. Raises NotFound, Fenced, Sealed, InvalidArgument.
        """
        self._writer.complete(key)
        if epoch is None:
            epoch = self.get_video(key).state.epoch
        request = wire.fill(pb.TruncateVideoRequest(key=wire.key_to_proto(key)), length=length, epoch=epoch)
        video = self._call(self._stub.TruncateVideo, request).video
        self._writer.forget(key)
        return self._seen(video)

    def seal_video(self, key: VideoKey, *, epoch: int | None = None) -> VideoInfo:
        """Let a video take no more frames and no truncation; durable, idempotent. Raises NotFound, Fenced."""
        request = wire.fill(pb.SealVideoRequest(key=wire.key_to_proto(key)), epoch=epoch)
        self._writer.complete(key)
        return self._seen(self._call(self._stub.SealVideo, request).video)

    def export_video(self, key: VideoKey) -> Iterator[bytes]:
        """The video as one self-contained reel, in chunks; takes as long as the reader does.

        An export that breaks off raises Unavailable: it has to begin anew, as the video may have grown.
        Raises NotFound, DataLoss.
        """
        request = pb.ExportVideoRequest(key=wire.key_to_proto(key))
        self._writer.complete(key)
        return receive_reel(self._connection, request)

    def import_video(
        self, key: VideoKey, reel: Iterable[Buffer], *, expected: VideoSpec | None = None
    ) -> VideoInfo:
        """A new video from the chunks of a reel, of any size, verified as a whole before it appears.

        `reel` is read once, in another thread, and not before the server has room for it; it takes as long as
        it needs. Unavailable after that leaves open whether the video is there; `get_video` tells. Where
        `expected` is given, embedding dimensions, latent dtype and shape and encoder must be its. Raises
        AlreadyExists, InvalidArgument, DataLoss, TooLarge, Exhausted, and what `reel` raises.
        """
        first = pb.ImportVideoRequest(key=wire.key_to_proto(key))
        if expected is not None:
            first.expected.CopyFrom(wire.spec_to_proto(expected, "expected"))
        return self._seen(send_reel(self._connection, first, reel).video)

    def _seen(self, message: pb.Video) -> VideoInfo:
        info = wire.video_from_proto(message)
        self._writer.observe(info.key, info.state)
        return info


def _is_fork(found: Parent | None, parent: VideoKey, length: int | None, epoch: int | None) -> bool:
    """Whether what a fork comes from is what was asked for."""
    return (
        found is not None
        and found.key == parent
        and length in (None, found.length)
        and epoch in (None, found.epoch)
    )
