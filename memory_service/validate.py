"""The boundary: everything that a request can have wrong, found before anything is changed.

Whoever is past these checks relies on them and does not check again. Fields are named as in the proto.
"""

import re
from collections.abc import Sequence

import numpy as np

from memory_service.errors import InvalidArgument, TooLarge
from memory_service.limits import Limits
from memory_service.types import (
    LATENT,
    LATENT_DTYPES,
    Block,
    Buffer,
    Embeddings,
    Handle,
    Query,
    Span,
    VideoKey,
    VideoSpec,
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_ID_RULE = "1 to 128 characters of [A-Za-z0-9._-], the first a letter or digit"
_MAX_FRAME = 2**63 - 1
_MAX_EPOCH = 2**64 - 1


def check_id(value: object, field: str) -> None:
    """Raises InvalidArgument unless `value` is a well-formed id."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidArgument(f"bad id {str(value)[:140]!r}", field=field, expected=_ID_RULE)


def check_key(key: VideoKey, field: str = "key") -> None:
    """Raises InvalidArgument unless both ids are well formed."""
    check_id(key.pool, f"{field}.pool")
    check_id(key.video, f"{field}.video")


def check_spec(spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    _check_count(spec.embedding_dim, limits.max_embedding_dim, "spec.embedding_dim")
    if spec.latent_dtype not in LATENT_DTYPES:
        raise InvalidArgument(
            f"unknown latent dtype {spec.latent_dtype!r}",
            field="spec.latent_dtype",
            expected=f"one of {', '.join(LATENT_DTYPES)}",
        )
    _check_count(len(spec.latent_shape), limits.max_latent_axes, "spec.latent_shape")
    size = LATENT_DTYPES[spec.latent_dtype]
    for axis, extent in enumerate(spec.latent_shape):
        _check_count(extent, limits.max_message_bytes, f"spec.latent_shape[{axis}]")
        size *= extent
    _check_size(size, limits.max_message_bytes, "spec.latent_shape", "one latent frame")
    if not isinstance(spec.encoder_id, str):
        raise InvalidArgument("the encoder id is not text", field="spec.encoder_id", expected="a string")
    _check_metadata(spec, limits)


def _check_metadata(spec: VideoSpec, limits: Limits) -> None:
    size = len(_utf8(spec.encoder_id, "spec.encoder_id"))
    for name, value in spec.metadata.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            raise InvalidArgument(
                f"bad metadata entry {name!r}", field="spec.metadata", expected="text by non-empty key"
            )
        size += len(_utf8(name, "spec.metadata")) + len(_utf8(value, "spec.metadata"))
    _check_size(size, limits.max_metadata_bytes, "spec.metadata", "metadata and encoder id")


def check_block(block: Block, spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    _check_frame(block.start, "block.start")
    _check_vectors(block.embeddings, spec.embedding_dim, 2, "block.embeddings")
    n = len(block.embeddings)
    if n == 0:
        raise InvalidArgument("the block is empty", field="block.embeddings", expected="at least one frame")
    _check_size(n, limits.max_block_frames, "block.embeddings", "frames of one block", unit="frames")
    _check_frame(block.start + n, "block.start")
    if LATENT not in block.parts:
        raise InvalidArgument("the block has no latents", field="block.parts", expected=f"a part {LATENT!r}")
    _check_size(len(block.parts), limits.max_parts, "block.parts", "parts", unit="parts")
    size = block.embeddings.nbytes
    for i, (name, payloads) in enumerate(block.parts.items()):
        field = f"block.parts[{i}]"
        check_id(name, f"{field}.name")
        if len(payloads) != n:
            raise InvalidArgument(
                f"part {name!r} has {len(payloads)} payloads", field=f"{field}.payloads", expected=f"{n}"
            )
        exactly = spec.latent_bytes if name == LATENT else None
        size += sum(
            _payload_bytes(payload, exactly, f"{field}.payloads[{j}]") for j, payload in enumerate(payloads)
        )
    _check_size(size, limits.max_message_bytes, "block", "one block")


def _payload_bytes(payload: Buffer, exactly: int | None, field: str) -> int:
    if not isinstance(payload, bytes | bytearray | memoryview) or not memoryview(payload).c_contiguous:
        raise InvalidArgument(
            f"a payload is {type(payload).__name__}", field=field, expected="a contiguous buffer of bytes"
        )
    size = memoryview(payload).nbytes
    if exactly is not None and size != exactly:
        raise InvalidArgument(f"a latent has {size} bytes", field=field, expected=f"{exactly} bytes")
    return size


def check_query(query: Query, spec: VideoSpec, limits: Limits, field: str, *, may_lack_vector: bool) -> None:
    """Raises InvalidArgument. `may_lack_vector` is advance, where the appended block has the vector."""
    _check_count(query.k, limits.max_k, f"{field}.k")
    check_span(query.eligible, f"{field}.eligible")
    if query.embedding is not None and query.frame is not None:
        raise InvalidArgument("two query vectors", field=f"{field}.vector", expected="embedding or frame")
    if query.embedding is not None:
        _check_vectors(query.embedding, spec.embedding_dim, 1, f"{field}.embedding")
    elif query.frame is not None:
        _check_frame(query.frame, f"{field}.frame")
    elif not may_lack_vector:
        raise InvalidArgument("no query vector", field=f"{field}.vector", expected="embedding or frame")


def check_queries(queries: Sequence[Query], spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    _check_size(len(queries), limits.max_queries, "queries", "queries of one search", unit="queries")
    for i, query in enumerate(queries):
        check_query(query, spec, limits, f"queries[{i}]", may_lack_vector=False)
    hits = sum(query.k for query in queries)
    _check_size(hits, limits.max_hits, "queries", "hits of one search", unit="hits")


def check_span(span: Span, field: str) -> None:
    """Raises InvalidArgument unless 0 <= start <= stop."""
    _check_frame(span.start, f"{field}.start")
    _check_frame(span.stop, f"{field}.stop")
    if span.start > span.stop:
        raise InvalidArgument(
            f"reversed span [{span.start}, {span.stop})", field=field, expected="start <= stop"
        )


def check_handles(handles: Sequence[Handle], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    _check_size(len(handles), limits.max_handles, "handles", "handles of one fetch", unit="handles")
    for i, handle in enumerate(handles):
        check_key(handle.key, f"handles[{i}].key")
        _check_frame(handle.epoch, f"handles[{i}].epoch", most=_MAX_EPOCH)
        _check_frame(handle.frame, f"handles[{i}].frame")


def check_parts(parts: Sequence[str], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    _check_size(len(parts), limits.max_parts, "parts", "parts of one fetch", unit="parts")
    for i, name in enumerate(parts):
        check_id(name, f"parts[{i}]")


def _check_vectors(vectors: Embeddings, dim: int, ndim: int, field: str) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        found = vectors.dtype if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise InvalidArgument(f"embeddings are {found}", field=field, expected="an array of float32")
    if vectors.ndim != ndim or vectors.shape[-1] != dim:
        shape = f"[n, {dim}]" if ndim == 2 else f"[{dim}]"
        raise InvalidArgument(f"embeddings have shape {list(vectors.shape)}", field=field, expected=shape)
    if not np.isfinite(vectors).all():
        raise InvalidArgument("an embedding is not finite", field=field, expected="finite values")
    if not vectors.any(axis=-1).all():
        raise InvalidArgument("an embedding is zero", field=field, expected="a direction")


def _check_frame(value: int, field: str, most: int = _MAX_FRAME) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= most:
        raise InvalidArgument(f"{value!r} is out of range", field=field, expected=f"0 to {most}")


def _check_count(value: int, most: int, field: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise InvalidArgument(f"{value!r} is out of range", field=field, expected=f"1 to {most}")


def _check_size(size: int, most: int, field: str, what: str, *, unit: str = "bytes") -> None:
    if size > most:
        raise TooLarge(f"{what}: {size} {unit}", field=field, expected=f"at most {most} {unit}")


def _utf8(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument("text is not Unicode", field=field, expected="UTF-8") from exc
