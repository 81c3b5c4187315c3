"""Types survive the way to a message and back; what a message cannot carry is refused by name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import KEY, SPEC, block, embeddings, latents

from memory_service import bulk, wire
from memory_service.errors import DataLoss, InvalidArgument
from memory_service.types import (
    Block,
    Frame,
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

frames = st.integers(0, (1 << 63) - 1)
int32s = st.integers(0, (1 << 31) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.builds(VideoKey, texts, texts)
spans = st.builds(Span, frames, frames)
handles = st.builds(Handle, keys, st.integers(0, (1 << 64) - 1), frames)
states = st.builds(VideoState, frames, frames, frames)
dtypes = st.sampled_from(["bfloat16", "float16", "float32"])
shapes = st.lists(int32s, max_size=4).map(tuple)
specs = st.builds(VideoSpec, int32s, dtypes, shapes, texts, st.dictionaries(texts, texts, max_size=3))
float32s = st.floats(width=32, allow_nan=False)
retrievals = st.builds(
    Retrieval,
    st.just(KEY),
    frames,
    frames,
    st.none() | frames,
    spans,
    int32s,
    texts,
    st.lists(frames, max_size=3).map(tuple),
    st.lists(float32s, max_size=3).map(tuple),
    frames,
    frames,
)
infos = st.builds(ServerInfo, texts, texts, frames, int32s, int32s, frames, st.floats(0, 1e9))


@given(keys)
def test_key(key: VideoKey) -> None:
    assert wire.key_from_proto(wire.key_to_proto(key)) == key


@given(spans)
def test_span(span: Span) -> None:
    assert wire.span_from_proto(wire.span_to_proto(span, "span")) == span


@given(handles)
def test_handle(handle: Handle) -> None:
    assert wire.handle_from_proto(wire.handle_to_proto(handle)) == handle


@given(specs)
def test_spec(spec: VideoSpec) -> None:
    assert wire.spec_from_proto(wire.spec_to_proto(spec)) == spec


@given(keys, specs, states, frames)
def test_video(key: VideoKey, spec: VideoSpec, state: VideoState, created: int) -> None:
    info = VideoInfo(key, spec, state, created)
    assert wire.video_from_proto(wire.video_to_proto(info)) == info


@given(handles, float32s)
def test_hit(handle: Handle, score: float) -> None:
    assert wire.hit_from_proto(wire.hit_to_proto(Hit(handle, score))) == Hit(handle, score)


@given(retrievals)
def test_retrieval(retrieval: Retrieval) -> None:
    assert wire.retrieval_from_proto(KEY, wire.retrieval_to_proto(retrieval)) == retrieval


@given(infos)
def test_info(info: ServerInfo) -> None:
    assert wire.info_from_proto(wire.info_to_proto(info)) == info


@given(st.integers(1, 5), spans, st.none() | frames)
def test_query(k: int, span: Span, frame: int | None) -> None:
    query = Query(k, span, frame=frame)
    assert wire.query_from_proto(wire.query_to_proto(query, "query"), "query") == query


def test_query_by_embedding() -> None:
    query = Query(3, Span(0, 9), embedding=embeddings(0, 1)[0])
    returned = wire.query_from_proto(wire.query_to_proto(query, "query"), "query")
    np.testing.assert_array_equal(returned.embedding, query.embedding)
    assert returned.frame is None


def test_block() -> None:
    sent = block(6, 3, preview=[b"a", b"", b"ccc"])
    message = pb.Block()
    bulk.put_block(sent, message)
    returned = bulk.block_from_proto(pb.Block.FromString(message.SerializeToString()))
    assert returned.start == 6
    np.testing.assert_array_equal(returned.embeddings, sent.embeddings)
    assert {name: list(data) for name, data in returned.parts.items()} == dict(sent.parts)
    assert bulk.block_bytes(sent) == sum(map(len, latents(6))) + sent.embeddings.nbytes + 4


def test_vectors_are_little_endian_views() -> None:
    message = pb.Block()
    bulk.put_block(Block(0, np.array([[1.0, -2.0]], np.float32), {"latent": [b""]}), message)
    assert message.embeddings == bytes.fromhex("0000803f 000000c0")
    view = wire.vectors_from_bytes(message.embeddings, 1, "x")
    assert not view.flags.owndata
    assert not view.flags.writeable


def frame_message() -> pb.Frame:
    message = pb.Frame()
    parts = {"latent": memoryview(b"abc"), "preview": b""}
    bulk.put_frame(Frame(Handle(KEY, 7, 2), embeddings(2, 1)[0], parts), message)
    return message


def test_frame() -> None:
    message = frame_message()
    returned = bulk.frame_from_proto(message)
    assert returned.handle == Handle(KEY, 7, 2)
    assert returned.parts == {"latent": b"abc", "preview": b""}
    np.testing.assert_array_equal(returned.embedding, embeddings(2, 1)[0])
    assert message.ByteSize() <= bulk.frame_bytes(returned)


def test_frame_damaged_on_its_way_is_data_loss() -> None:
    message = frame_message()
    message.payloads[0].data = b"abd"
    with pytest.raises(DataLoss, match="latent"):
        bulk.frame_from_proto(message)


def test_checksum_is_castagnoli() -> None:
    message = pb.Frame()
    bulk.put_frame(Frame(Handle(KEY, 1, 0), embeddings(0, 1)[0], {"latent": b"123456789"}), message)
    assert message.payloads[0].crc32c == 0xE3069283


REFUSED: list[tuple[str, Any]] = [
    ("key.pool", lambda: wire.key_to_proto(VideoKey(3, "v"))),  # type: ignore[arg-type]
    ("key.video", lambda: wire.key_to_proto(VideoKey("p", "\ud800"))),
    ("q.k", lambda: wire.query_to_proto(Query(1 << 31, Span(0, 1)), "q")),
    ("q.k", lambda: wire.query_to_proto(Query(1.5, Span(0, 1)), "q")),  # type: ignore[arg-type]
    ("q.eligible.stop", lambda: wire.query_to_proto(Query(1, Span(0, 1 << 63)), "q")),
    ("q.frame", lambda: wire.query_to_proto(Query(1, Span(0, 1), frame=-(1 << 64)), "q")),
    ("q.vector", lambda: wire.query_to_proto(Query(1, Span(0, 1), embeddings(0, 1)[0], 0), "q")),
    ("q.embedding", lambda: wire.query_to_proto(Query(1, Span(0, 1), embeddings(0, 2)), "q")),
    ("h.epoch", lambda: wire.handle_to_proto(Handle(KEY, -1, 0), "h")),
    ("spec.latent_dtype", lambda: wire.spec_to_proto(replace(SPEC, latent_dtype="int8"))),
    ("spec.latent_shape", lambda: wire.spec_to_proto(replace(SPEC, latent_shape=(1 << 40,)))),
    ("spec.metadata", lambda: wire.spec_to_proto(replace(SPEC, metadata={"seed": 1}))),  # type: ignore[dict-item]
    ("spec.embedding_dim", lambda: wire.spec_to_proto(replace(SPEC, embedding_dim=1 << 40))),
    ("block.start", lambda: bulk.put_block(replace(block(0), start=1 << 70), pb.Block())),
    ("block.parts[1].payloads", lambda: bulk.put_block(block(0, preview=[b""]), pb.Block())),
    ("block.parts[1].payloads[2]", lambda: bulk.put_block(block(0, preview=[b"", b"", 5]), pb.Block())),  # type: ignore[list-item]
    ("block.embeddings", lambda: bulk.put_block(Block(0, np.ones((1, 8)), {"latent": [b""]}), pb.Block())),  # type: ignore[arg-type]
    ("block.embeddings", lambda: bulk.put_block(Block(0, np.ones(8, np.float32), {}), pb.Block())),
]


@pytest.mark.parametrize(("field", "send"), REFUSED, ids=[field for field, _ in REFUSED])
def test_what_a_message_cannot_carry_is_refused(field: str, send: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        send()
    assert caught.value.field == field


def test_a_dtype_of_a_later_version_is_refused() -> None:
    message = wire.spec_to_proto(SPEC)
    message.latent_dtype = 9  # type: ignore[assignment]
    with pytest.raises(InvalidArgument, match="latent_dtype"):
        wire.spec_from_proto(message)
