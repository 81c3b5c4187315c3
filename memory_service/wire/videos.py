"""Videos: what they fix, where they stand, what they come from."""

from memory_service.errors import InvalidArgument
from memory_service.types import Parent, VideoInfo, VideoSpec, VideoState
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.fields import extend, few, fill, update
from memory_service.wire.names import key_from_proto, key_to_proto

_DTYPES = {
    "bfloat16": pb.LATENT_DTYPE_BFLOAT16,
    "float16": pb.LATENT_DTYPE_FLOAT16,
    "float32": pb.LATENT_DTYPE_FLOAT32,
}
_DTYPE_NAMES = {number: name for name, number in _DTYPES.items()}


def spec_to_proto(spec: VideoSpec, field: str = "spec") -> pb.VideoSpec:
    if spec.latent_dtype not in _DTYPES:
        raise InvalidArgument(
            f"unknown latent dtype {spec.latent_dtype!r}",
            field=f"{field}.latent_dtype",
            expected="one of " + ", ".join(_DTYPES),
        )
    message = pb.VideoSpec(latent_dtype=_DTYPES[spec.latent_dtype])
    fill(message, f"{field}.", embedding_dim=spec.embedding_dim, encoder_id=spec.encoder_id)
    extend(message.latent_shape, spec.latent_shape, f"{field}.latent_shape")
    update(message.metadata, spec.metadata, f"{field}.metadata")
    update(message.named_dims, spec.named_dims, f"{field}.named_dims")
    return message


def spec_from_proto(message: pb.VideoSpec, field: str = "spec") -> VideoSpec:
    if message.latent_dtype not in _DTYPE_NAMES:
        raise InvalidArgument(
            "the latent dtype is unspecified or unknown",
            field=f"{field}.latent_dtype",
            expected="one of " + ", ".join(pb.LatentDtype.Name(number) for number in _DTYPE_NAMES),
        )
    return VideoSpec(
        embedding_dim=message.embedding_dim,
        latent_dtype=_DTYPE_NAMES[message.latent_dtype],
        latent_shape=tuple(few(message.latent_shape, f"{field}.latent_shape")),
        encoder_id=message.encoder_id,
        metadata=dict(few(message.metadata, f"{field}.metadata")),
        named_dims=dict(few(message.named_dims, f"{field}.named_dims")),
    )


def state_to_proto(state: VideoState) -> pb.VideoState:
    return pb.VideoState(epoch=state.epoch, length=state.length, durable=state.durable)


def state_from_proto(message: pb.VideoState) -> VideoState:
    return VideoState(message.epoch, message.length, message.durable)


def video_to_proto(info: VideoInfo) -> pb.Video:
    message = pb.Video(
        key=key_to_proto(info.key),
        spec=spec_to_proto(info.spec),
        state=state_to_proto(info.state),
        created_unix_ms=info.created_unix_ms,
        sealed=info.sealed,
        num_bytes=info.num_bytes,
    )
    if info.parent is not None:
        message.parent.key.CopyFrom(key_to_proto(info.parent.key))
        fill(message.parent, "parent.", epoch=info.parent.epoch, length=info.parent.length)
    return message


def video_from_proto(message: pb.Video) -> VideoInfo:
    parent = None
    if message.HasField("parent"):
        parent = Parent(
            key_from_proto(message.parent.key), epoch=message.parent.epoch, length=message.parent.length
        )
    return VideoInfo(
        key=key_from_proto(message.key),
        spec=spec_from_proto(message.spec),
        state=state_from_proto(message.state),
        created_unix_ms=message.created_unix_ms,
        parent=parent,
        sealed=message.sealed,
        num_bytes=message.num_bytes,
    )
