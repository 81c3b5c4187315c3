"""Types to proto messages and back, without the payloads (`bulk`): one function per message and direction.

`*_to_proto` runs where a value is sent: it refuses what a message cannot carry. `*_from_proto` runs where a
message arrives: it refuses what only the wire can get wrong (a missing message, a vector cut short) and
leaves every other judgement to the engine. Both raise `InvalidArgument` naming the field as the proto does.
"""

from dataclasses import asdict, fields
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message

from memory_service.errors import InvalidArgument
from memory_service.types import (
    Embeddings,
    Handle,
    Hit,
    Query,
    Retrieval,
    ServerInfo,
    Span,
    VideoInfo,
    VideoKey,
    VideoSpec,
    VideoState,
)
from memory_service.v1 import memory_pb2 as pb

FLOAT_BYTES = 4
_DTYPES = {
    "bfloat16": pb.LATENT_DTYPE_BFLOAT16,
    "float16": pb.LATENT_DTYPE_FLOAT16,
    "float32": pb.LATENT_DTYPE_FLOAT32,
}
_DTYPE_NAMES = {number: name for name, number in _DTYPES.items()}

_Message = TypeVar("_Message", bound=Message)


def fill(message: _Message, prefix: str = "", **values: object) -> _Message:
    """`message` with scalar fields set; None leaves one unset.

    Raises InvalidArgument naming `prefix` + field where protobuf refuses a value's type or range.
    """
    for name, value in values.items():
        try:
            if value is not None:
                setattr(message, name, value)
        except (TypeError, ValueError) as exc:
            raise InvalidArgument(
                f"{name} cannot be sent: {exc}", field=prefix + name, expected="a value that fits its message"
            ) from exc
    return message


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


def handle_from_proto(message: pb.Handle, field: str = "handle") -> Handle:
    if not message.HasField("key"):
        raise InvalidArgument(f"{field}.key is missing", field=f"{field}.key", expected="a VideoKey")
    return Handle(key_from_proto(message.key), message.epoch, message.frame)


def spec_to_proto(spec: VideoSpec) -> pb.VideoSpec:
    if spec.latent_dtype not in _DTYPES:
        raise InvalidArgument(
            f"unknown latent dtype {spec.latent_dtype!r}",
            field="spec.latent_dtype",
            expected="one of " + ", ".join(_DTYPES),
        )
    message = pb.VideoSpec(latent_dtype=_DTYPES[spec.latent_dtype])
    fill(message, "spec.", embedding_dim=spec.embedding_dim, encoder_id=spec.encoder_id)
    try:
        message.latent_shape.extend(spec.latent_shape)
    except (TypeError, ValueError) as exc:
        raise InvalidArgument(str(exc), field="spec.latent_shape", expected="positive int32 values") from exc
    try:
        message.metadata.update(spec.metadata)
    except (TypeError, ValueError) as exc:
        raise InvalidArgument(str(exc), field="spec.metadata", expected="text by text") from exc
    return message


def spec_from_proto(message: pb.VideoSpec) -> VideoSpec:
    if message.latent_dtype not in _DTYPE_NAMES:
        raise InvalidArgument(
            "the latent dtype is unspecified or unknown",
            field="spec.latent_dtype",
            expected="one of " + ", ".join(pb.LatentDtype.Name(number) for number in _DTYPE_NAMES),
        )
    dtype, shape = _DTYPE_NAMES[message.latent_dtype], tuple(message.latent_shape)
    return VideoSpec(message.embedding_dim, dtype, shape, message.encoder_id, dict(message.metadata))


def state_to_proto(state: VideoState) -> pb.VideoState:
    return pb.VideoState(**asdict(state))


def state_from_proto(message: pb.VideoState) -> VideoState:
    return VideoState(message.epoch, message.length, message.durable)


def video_to_proto(info: VideoInfo) -> pb.Video:
    return pb.Video(
        key=key_to_proto(info.key),
        spec=spec_to_proto(info.spec),
        state=state_to_proto(info.state),
        created_unix_ms=info.created_unix_ms,
    )


def video_from_proto(message: pb.Video) -> VideoInfo:
    spec, state = spec_from_proto(message.spec), state_from_proto(message.state)
    return VideoInfo(key_from_proto(message.key), spec, state, message.created_unix_ms)


def vectors_from_bytes(data: bytes, count: int, field: str) -> Embeddings:
    """`data` as `count` float32 vectors [count, D], read-only and without a copy."""
    if not data or len(data) % (count * FLOAT_BYTES):
        raise InvalidArgument(
            f"{field} has {len(data)} bytes",
            field=field,
            expected=f"{count} vectors of float32 values: a positive multiple of {count * FLOAT_BYTES} bytes",
        )
    return np.frombuffer(data, dtype="<f4").reshape(count, -1)


def vectors_to_bytes(vectors: Embeddings, ndim: int, field: str) -> bytes:
    """A float32 array of `ndim` axes as little-endian bytes; the bytes of any other would mislead."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != ndim:
        found = f"{vectors.dtype} array" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise InvalidArgument(
            f"{field} is a {found} of shape {list(np.shape(vectors))}",
            field=field,
            expected=f"a float32 array of {ndim} axes",
        )
    return vectors.astype("<f4", copy=False).tobytes()


def query_to_proto(query: Query, field: str) -> pb.Query:
    if query.embedding is not None and query.frame is not None:
        raise InvalidArgument("two query vectors", field=f"{field}.vector", expected="embedding or frame")
    message = pb.Query(eligible=span_to_proto(query.eligible, f"{field}.eligible"))
    fill(message, f"{field}.", k=query.k, frame=query.frame)
    if query.embedding is not None:
        message.embedding = vectors_to_bytes(query.embedding, 1, f"{field}.embedding")
    return message


def query_from_proto(message: pb.Query, field: str) -> Query:
    if not message.HasField("eligible"):
        raise InvalidArgument(f"{field}.eligible is missing", field=f"{field}.eligible", expected="a Span")
    vector = message.WhichOneof("vector")
    frame = message.frame if vector == "frame" else None
    embedding = None
    if vector == "embedding":
        embedding = vectors_from_bytes(message.embedding, 1, f"{field}.embedding")[0]
    return Query(message.k, span_from_proto(message.eligible), embedding, frame)


def hit_to_proto(hit: Hit) -> pb.Hit:
    return pb.Hit(handle=handle_to_proto(hit.handle), score=hit.score)


def hit_from_proto(message: pb.Hit) -> Hit:
    return Hit(handle_from_proto(message.handle), message.score)


def retrieval_to_proto(retrieval: Retrieval) -> pb.Retrieval:
    same = {field.name: getattr(retrieval, field.name) for field in fields(Retrieval)}
    del same["key"]
    return pb.Retrieval(**(same | {"eligible": span_to_proto(retrieval.eligible, "eligible")}))


def retrieval_from_proto(key: VideoKey, message: pb.Retrieval) -> Retrieval:
    same = {field.name: getattr(message, field.name) for field in fields(Retrieval) if field.name != "key"}
    same["query_frame"] = message.query_frame if message.HasField("query_frame") else None
    same["eligible"] = span_from_proto(message.eligible)
    same["frames"], same["scores"] = tuple(message.frames), tuple(message.scores)
    return Retrieval(key=key, **same)


def info_to_proto(info: ServerInfo) -> pb.ServerInfoResponse:
    return pb.ServerInfoResponse(**asdict(info))


def info_from_proto(message: pb.ServerInfoResponse) -> ServerInfo:
    return ServerInfo(**{field.name: getattr(message, field.name) for field in fields(ServerInfo)})
