"""What names videos and frames: keys, spans, handles."""

from memory_service.types import Handle, Span, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.fields import fill, require


def key_to_proto(key: VideoKey, field: str = "key") -> pb.VideoKey:
    return fill(pb.VideoKey(), f"{field}.", pool=key.pool, video=key.video)


def key_from_proto(message: pb.VideoKey) -> VideoKey:
    return VideoKey(message.pool, message.video)


def span_to_proto(span: Span, field: str) -> pb.Span:
    return fill(pb.Span(), f"{field}.", start=span.start, stop=span.stop)


def span_from_proto(message: pb.Span) -> Span:
    return Span(message.start, message.stop)


def handle_to_proto(handle: Handle, field: str = "handle") -> pb.Handle:
    message = pb.Handle(key=key_to_proto(handle.key, f"{field}.key"))
    return fill(message, f"{field}.", epoch=handle.epoch, frame=handle.frame)


def put_handle(handle: Handle, message: pb.Handle) -> None:
    """Into a message that is in its place, for handles that came from where they were checked."""
    key = message.key
    key.pool, key.video = handle.key.pool, handle.key.video
    message.epoch, message.frame = handle.epoch, handle.frame


def handle_from_proto(message: pb.Handle, field: str = "handle") -> Handle:
    if not message.HasField("key"):
        require(message, "key", prefix=f"{field}.")
    key = message.key
    return Handle(VideoKey(key.pool, key.video), message.epoch, message.frame)


class Handles:
    """The handles of one answer: each is made once however often it is named, and so found by identity."""

    def __init__(self) -> None:
        self._made: dict[bytes, Handle] = {}

    def of(self, message: pb.Handle) -> Handle:
        """Raises InvalidArgument."""
        encoded = message.SerializeToString()
        made = self._made.get(encoded)
        if made is None:
            made = self._made[encoded] = handle_from_proto(message)
        return made
