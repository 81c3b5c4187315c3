"""The boundary: everything that a request can have wrong, found before anything is changed.

Whoever is past these checks relies on them and does not check again. Fields are named as in the proto.
"""

import re
from collections.abc import Mapping, Sequence

from memory_service.boundary.checks import check_size, check_vectors, check_whole, text_bytes, utf8
from memory_service.errors import InvalidArgument
from memory_service.limits import Limits
from memory_service.types import (
    LATENT,
    LATENT_DTYPES,
    Block,
    Buffer,
    Handle,
    Span,
    VideoKey,
    VideoSpec,
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_ID_RULE = "1 to 128 characters of [A-Za-z0-9._-], the first a letter or digit"
_MAX_EPOCH = 2**64 - 1
_BUFFERS = (bytes, bytearray, memoryview)


def check_id(value: object, field: str) -> None:
    """Raises InvalidArgument unless `value` is a well-formed id."""
    if not is_id(value):
        raise InvalidArgument(f"bad id {str(value)[:140]!r}", field=field, expected=_ID_RULE)


def is_id(value: object) -> bool:
    """Whether `value` is a well-formed id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_key(key: VideoKey, field: str = "key") -> None:
    """Raises InvalidArgument unless both ids are well formed."""
    if not (is_id(key.pool) and is_id(key.video)):
        check_id(key.pool, f"{field}.pool")
        check_id(key.video, f"{field}.video")


def check_spec(spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_whole(spec.embedding_dim, "spec.embedding_dim", least=1, most=limits.max_embedding_dim)
    if spec.latent_dtype not in LATENT_DTYPES:
        raise InvalidArgument(
            f"unknown latent dtype {spec.latent_dtype!r}",
            field="spec.latent_dtype",
            expected=f"one of {', '.join(LATENT_DTYPES)}",
        )
    check_whole(len(spec.latent_shape), "spec.latent_shape", least=1, most=limits.max_latent_axes)
    size = LATENT_DTYPES[spec.latent_dtype]
    for axis, extent in enumerate(spec.latent_shape):
        check_whole(extent, f"spec.latent_shape[{axis}]", least=1, most=limits.max_message_bytes)
        size *= extent
    check_size(size, limits.max_message_bytes, "spec.latent_shape", "one latent frame")
    if not isinstance(spec.encoder_id, str) or not spec.encoder_id:
        raise InvalidArgument(
            "the encoder has no name", field="spec.encoder_id", expected="text: embeddings of two never mix"
        )
    _check_metadata(spec, limits)
    _check_named_dims(spec, limits)


def _check_metadata(spec: VideoSpec, limits: Limits) -> None:
    size = len(utf8(spec.encoder_id, "spec.encoder_id")) + text_bytes(spec.metadata, "spec.metadata")
    check_size(size, limits.max_metadata_bytes, "spec.metadata", "metadata and encoder id")


def _check_named_dims(spec: VideoSpec, limits: Limits) -> None:
    field = "spec.named_dims"
    check_size(len(spec.named_dims), limits.max_named, field, "named embeddings", unit="names")
    for name, dim in spec.named_dims.items():
        check_id(name, field)
        check_whole(dim, field, least=1, most=limits.max_embedding_dim)


def check_block(block: Block, spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_whole(block.start, "block.start")
    check_vectors(block.embeddings, spec.embedding_dim, 2, "block.embeddings")
    n = len(block.embeddings)
    if n == 0:
        raise InvalidArgument("the block is empty", field="block.embeddings", expected="at least one frame")
    check_size(n, limits.max_block_frames, "block.embeddings", "frames of one block", unit="frames")
    check_whole(block.start + n, "block.start")
    size = block.embeddings.nbytes + _check_parts(block, n, spec, limits) + _check_named(block, spec)
    if block.metadata:
        metadata_bytes = text_bytes(block.metadata, "block.metadata")
        check_size(metadata_bytes, limits.max_block_metadata_bytes, "block.metadata", "metadata of one block")
    check_whole(block.unix_ms, "block.unix_ms")
    check_size(size, limits.max_message_bytes, "block", "one block")


def _check_parts(block: Block, n: int, spec: VideoSpec, limits: Limits) -> int:
    """The bytes of the parts of a block of n frames."""
    if LATENT not in block.parts:
        raise InvalidArgument("the block has no latents", field="block.parts", expected=f"a part {LATENT!r}")
    check_size(len(block.parts), limits.max_parts, "block.parts", "parts", unit="parts")
    size = 0
    for i, (name, payloads) in enumerate(block.parts.items()):
        field = f"block.parts[{i}]"
        check_id(name, f"{field}.name")
        if len(payloads) != n:
            raise InvalidArgument(
                f"part {name!r} has {len(payloads)} payloads", field=f"{field}.payloads", expected=f"{n}"
            )
        exactly = spec.latent_bytes if name == LATENT else None
        for j, payload in enumerate(payloads):
            size += _payload_bytes(payload, exactly, f"{field}.payloads[{j}]")
    return size


def _check_named(block: Block, spec: VideoSpec) -> int:
    """The bytes of a block's named embeddings: exactly those of the spec, one per frame."""
    if not block.named and not spec.named_dims:
        return 0
    if block.named.keys() != spec.named_dims.keys():
        raise InvalidArgument(
            f"the block has named embeddings {sorted(map(str, block.named))}",
            field="block.named",
            expected=f"{sorted(spec.named_dims)}",
        )
    for i, (name, rows) in enumerate(block.named.items()):
        field = f"block.named[{i}].embeddings"
        check_vectors(rows, spec.named_dims[name], 2, field)
        if len(rows) != len(block.embeddings):
            raise InvalidArgument(
                f"{name!r} has {len(rows)} embeddings", field=field, expected=f"{len(block.embeddings)}"
            )
    return sum(rows.nbytes for rows in block.named.values())


def _payload_bytes(payload: Buffer, exactly: int | None, field: str) -> int:
    view = memoryview(payload) if isinstance(payload, _BUFFERS) else None
    if view is None or not view.c_contiguous:
        raise InvalidArgument(
            f"a payload is {type(payload).__name__}", field=field, expected="a contiguous buffer of bytes"
        )
    size = view.nbytes
    if exactly is not None and size != exactly:
        raise InvalidArgument(f"a latent has {size} bytes", field=field, expected=f"{exactly} bytes")
    return size


def check_fork(length: int | None, metadata: Mapping[str, str], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    if length is not None:
        check_whole(length, "length")
    size = text_bytes(metadata, "metadata")
    check_size(size, limits.max_metadata_bytes, "metadata", "metadata of a fork")


def check_span(span: Span, field: str) -> None:
    """Raises InvalidArgument unless 0 <= start <= stop."""
    check_whole(span.start, f"{field}.start")
    check_whole(span.stop, f"{field}.stop")
    if span.start > span.stop:
        raise InvalidArgument(
            f"reversed span [{span.start}, {span.stop})", field=field, expected="start <= stop"
        )


def check_handles(handles: Sequence[Handle], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_size(len(handles), limits.max_handles, "handles", "handles of one fetch", unit="handles")
    for i, handle in enumerate(handles):
        check_key(handle.key, f"handles[{i}].key")
        check_whole(handle.epoch, f"handles[{i}].epoch", most=_MAX_EPOCH)
        check_whole(handle.frame, f"handles[{i}].frame")


def check_parts(parts: Sequence[str], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_size(len(parts), limits.max_parts, "parts", "parts of one fetch", unit="parts")
    for i, name in enumerate(parts):
        check_id(name, f"parts[{i}]")
