"""Types survive the way to a message and back; what a message cannot carry is refused by name."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import KEY, SPEC, block, embeddings, latents

from memory_service import wire
from memory_service.errors import DataLoss, InvalidArgument, TooLarge
from memory_service.types import (
    Block,
    Event,
    EventKind,
    Filter,
    Frame,
    Handle,
    Hit,
    Parent,
    Policy,
    PoolInfo,
    PoolSpec,
    PoolUsage,
    Query,
    Retrieval,
    Scope,
    ScopeVideo,
    ServerInfo,
    Span,
    Term,
    VideoInfo,
    VideoKey,
    VideoSpec,
    VideoState,
)
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk

int64s = st.integers(0, (1 << 63) - 1)
int32s = st.integers(0, (1 << 31) - 1)
epochs = st.integers(0, (1 << 64) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maps = st.dictionaries(texts, texts, max_size=3)
float32s = st.floats(width=32, allow_nan=False)


def built(type_: Any, /, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a type with a strategy for every field: one forgotten here would be forgotten there."""
    assert set(values) == {field.name for field in fields(type_)}
    return st.builds(type_, **values)


def tuples(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


keys = built(VideoKey, pool=texts, video=texts)
spans = built(Span, start=int64s, stop=int64s)
handles = built(Handle, key=keys, epoch=epochs, frame=int64s)
states = built(VideoState, epoch=epochs, length=int64s, durable=int64s)
specs = built(
    VideoSpec,
    embedding_dim=int32s,
    latent_dtype=st.sampled_from(["bfloat16", "float16", "float32"]),
    latent_shape=tuples(int32s),
    encoder_id=texts,
    metadata=maps,
    named_dims=st.dictionaries(texts, int32s, max_size=3),
)
parents = built(Parent, key=keys, epoch=epochs, length=int64s)
videos = built(
    VideoInfo,
    key=keys,
    spec=specs,
    state=states,
    created_unix_ms=int64s,
    parent=st.none() | parents,
    sealed=st.booleans(),
    num_bytes=int64s,
)
pool_specs = built(PoolSpec, max_bytes=int64s, max_videos=int64s, ttl_ms=int64s)
usages = built(PoolUsage, num_bytes=int64s, num_videos=int64s, hot_videos=int64s, index_bytes=int64s)
pools = built(PoolInfo, pool=texts, spec=pool_specs, usage=usages)
policies = built(
    Policy,
    min_gap_frames=int64s,
    mmr_lambda=st.none() | float32s,
    min_score=st.none() | float32s,
    pinned_frames=tuples(int64s),
    max_pinned=st.none() | int32s,
)
filters = built(Filter, metadata=maps, after_unix_ms=st.none() | int64s, before_unix_ms=st.none() | int64s)
queries = built(
    Query,
    k=int32s,
    eligible=spans,
    embedding=st.none(),
    frame=st.none() | int64s,
    policy=policies,
    filter=filters,
    terms=st.just(()),
    weight=float32s,
)
scope_videos = built(ScopeVideo, key=keys, eligible=st.none() | spans)
scopes = built(Scope, videos=tuples(scope_videos), pool=st.booleans())
hits = built(Hit, handle=handles, score=float32s, pinned=st.booleans())
retrievals = built(
    Retrieval,
    key=st.just(KEY),
    epoch=epochs,
    length=int64s,
    query_frame=st.none() | int64s,
    eligible=spans,
    k=int32s,
    policy=texts,
    frames=tuples(int64s),
    scores=tuples(float32s),
    search_us=int64s,
    unix_ms=int64s,
    videos=tuples(keys),
    num_candidates=int64s,
    runner_up_frames=tuples(int64s),
    runner_up_scores=tuples(float32s),
)
events = built(
    Event,
    kind=st.sampled_from(EventKind),
    unix_ms=int64s,
    key=st.just(KEY),
    state=st.none() | states,
    retrieval=st.none() | retrievals,
    lost=int64s,
)
infos = built(
    ServerInfo,
    version=texts,
    index=texts,
    max_message_bytes=int64s,
    max_k=int32s,
    max_queries=int32s,
    hot_videos=int64s,
    uptime_s=st.floats(0, 1e9),
    max_hits=int32s,
    local_path=st.booleans(),
    durability=texts,
    num_bytes=int64s,
    max_bytes=int64s,
    num_videos=int64s,
    max_videos=int64s,
    index_bytes=int64s,
    max_index_bytes=int64s,
)

ROUND_TRIPS: dict[str, tuple[st.SearchStrategy[Any], Any, Any]] = {
    "key": (keys, wire.key_to_proto, wire.key_from_proto),
    "span": (spans, lambda span: wire.span_to_proto(span, "span"), wire.span_from_proto),
    "handle": (handles, wire.handle_to_proto, wire.handle_from_proto),
    "spec": (specs, wire.spec_to_proto, wire.spec_from_proto),
    "state": (states, wire.state_to_proto, wire.state_from_proto),
    "video": (videos, wire.video_to_proto, wire.video_from_proto),
    "pool spec": (pool_specs, wire.pool_spec_to_proto, wire.pool_spec_from_proto),
    "pool": (pools, wire.pool_to_proto, wire.pool_from_proto),
    "query": (queries, lambda q: wire.query_to_proto(q, "q"), lambda m: wire.query_from_proto(m, "q")),
    "scope": (scopes, wire.scope_to_proto, wire.scope_from_proto),
    "hit": (hits, wire.hit_to_proto, wire.hit_from_proto),
    "retrieval": (
        retrievals,
        wire.retrieval_to_proto,
        lambda message: wire.retrieval_from_proto(KEY, message),
    ),
    "event": (events, wire.event_to_proto, wire.event_from_proto),
    "info": (infos, wire.info_to_proto, wire.info_from_proto),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_value_survives_the_way_there_and_back(name: str) -> None:
    values, to_proto, from_proto = ROUND_TRIPS[name]

    @settings(max_examples=50, deadline=None)
    @given(values)
    def run(value: Any) -> None:
        message = to_proto(value)
        assert from_proto(type(message).FromString(message.SerializeToString())) == value

    run()


def test_an_event_without_a_video() -> None:
    event = Event(EventKind.WATCHING, 5)
    assert wire.event_from_proto(wire.event_to_proto(event)) == event


def test_a_plain_query_is_as_short_as_ever() -> None:
    message = wire.query_to_proto(Query(6, Span(1, 9), frame=8), "query")
    assert {field.name for field, _ in message.ListFields()} == {"eligible", "k", "frame"}


def test_query_by_embedding_and_terms() -> None:
    terms = (Term("text", embeddings(1, 1)[0], 0.25), Term("depth", embeddings(2, 1)[0, :3], -1.0))
    query = Query(3, Span(0, 9), embedding=embeddings(0, 1)[0], terms=terms, weight=0.0)
    returned = wire.query_from_proto(wire.query_to_proto(query, "query"), "query")
    np.testing.assert_array_equal(returned.embedding, query.embedding)
    assert (returned.frame, returned.weight) == (None, 0.0)
    for got, sent in zip(returned.terms, terms, strict=True):
        assert (got.name, got.weight) == (sent.name, sent.weight)
        np.testing.assert_array_equal(got.embedding, sent.embedding)


def test_block() -> None:
    sent = replace(
        block(6, 3, preview=[b"a", b"", b"ccc"]),
        named={"text": embeddings(1, 3, 5), "depth": embeddings(2, 3, 2)},
        metadata={"shot": "4"},
        unix_ms=77,
    )
    message = pb.Block()
    bulk.put_block(sent, message)
    returned = bulk.block_from_proto(pb.Block.FromString(message.SerializeToString()))
    assert (returned.start, returned.metadata, returned.unix_ms) == (6, {"shot": "4"}, 77)
    np.testing.assert_array_equal(returned.embeddings, sent.embeddings)
    assert {name: list(data) for name, data in returned.parts.items()} == dict(sent.parts)
    assert set(returned.named) == set(sent.named)
    for name, vectors in sent.named.items():
        np.testing.assert_array_equal(returned.named[name], vectors)
    assert bulk.block_bytes(sent) == sum(map(len, latents(6))) + (3 * 8 + 3 * 5 + 3 * 2) * 4 + 4


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
    named = {"text": embeddings(3, 1, 5)[0]}
    frame = Frame(Handle(KEY, 7, 2), embeddings(2, 1)[0], parts, named, {"shot": "\u00e9" * 99}, 1 << 40)
    bulk.put_frame(frame, message)
    return message


def test_frame() -> None:
    message = frame_message()
    returned = bulk.frame_from_proto(message)
    assert returned.handle == Handle(KEY, 7, 2)
    assert returned.parts == {"latent": b"abc", "preview": b""}
    np.testing.assert_array_equal(returned.embedding, embeddings(2, 1)[0])
    np.testing.assert_array_equal(returned.named["text"], embeddings(3, 1, 5)[0])
    assert (returned.metadata, returned.unix_ms) == ({"shot": "\u00e9" * 99}, 1 << 40)
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


def plain(**values: Any) -> pb.Query:
    return wire.query_to_proto(replace(Query(1, Span(0, 1), frame=0), **values), "q")


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
    ("block.metadata", lambda: bulk.put_block(replace(block(0), metadata={"a": 1}), pb.Block())),  # type: ignore[dict-item]
    ("block.unix_ms", lambda: bulk.put_block(replace(block(0), unix_ms=1.5), pb.Block())),  # type: ignore[arg-type]
    (
        "block.named[0].embeddings",
        lambda: bulk.put_block(replace(block(0), named={"text": embeddings(0, 1)[0]}), pb.Block()),
    ),
    ("spec.named_dims", lambda: wire.spec_to_proto(replace(SPEC, named_dims={"text": 1 << 40}))),
    ("spec.max_bytes", lambda: wire.pool_spec_to_proto(PoolSpec(max_bytes=1 << 63))),
    ("q.policy.max_pinned", lambda: plain(policy=Policy(max_pinned=1 << 40))),
    ("q.policy.pinned_frames", lambda: plain(policy=Policy(pinned_frames=("1",)))),  # type: ignore[arg-type]
    ("q.policy.mmr_lambda", lambda: plain(policy=Policy(mmr_lambda="x"))),  # type: ignore[arg-type]
    ("q.filter.metadata", lambda: plain(filter=Filter(metadata={"a": 3}))),  # type: ignore[dict-item]
    ("q.filter.after_unix_ms", lambda: plain(filter=Filter(after_unix_ms=1 << 70))),
    ("q.terms[0].embedding", lambda: plain(terms=(Term("text", embeddings(0, 2), 1.0),))),
    ("q.weight", lambda: plain(weight="heavy")),
    ("s.videos[0].key.pool", lambda: wire.scope_to_proto(Scope((ScopeVideo(VideoKey(1, "v")),)), "s")),  # type: ignore[arg-type]
    ("s.pool", lambda: wire.scope_to_proto(Scope(pool="all"), "s")),  # type: ignore[arg-type]
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


def block_message(**values: Any) -> pb.Block:
    message = pb.Block(start=0, embeddings=embeddings(0, 1).tobytes(), **values)
    message.parts.add(name="latent", payloads=[b"x"])
    return message


ARRIVED_WRONG: list[tuple[str, Any]] = [
    ("q.eligible", lambda: wire.query_from_proto(pb.Query(k=1), "q")),
    ("q.terms[0].embedding", lambda: arrived(terms=[pb.Term(name="text", embedding=b"123")])),
    ("q.terms[1].embedding", lambda: arrived(terms=[pb.Term(embedding=bytes(4)), pb.Term()])),
    ("scope.videos[0].key", lambda: wire.scope_from_proto(pb.Scope(videos=[pb.ScopeVideo()]))),
    ("event.kind", lambda: wire.event_from_proto(pb.Event(kind=99))),  # type: ignore[arg-type]
    ("event.kind", lambda: wire.event_from_proto(pb.Event())),
    ("h.key", lambda: wire.handle_from_proto(pb.Handle(epoch=3), "h")),
    (
        "block.named[0].embeddings",
        lambda: bulk.block_from_proto(
            block_message(named=[pb.NamedEmbeddings(name="a", embeddings=b"12345")])
        ),
    ),
    (
        "block.named[1].name",
        lambda: bulk.block_from_proto(
            block_message(named=[pb.NamedEmbeddings(name="a", embeddings=bytes(4))] * 2)
        ),
    ),
]


def arrived(**values: Any) -> Query:
    return wire.query_from_proto(pb.Query(k=1, frame=0, eligible=pb.Span(stop=1), **values), "q")


@pytest.mark.parametrize(("field", "receive"), ARRIVED_WRONG)
def test_what_only_the_wire_can_get_wrong_is_refused(field: str, receive: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        receive()
    assert caught.value.field == field
    assert caught.value.expected


MANY = wire.fields.MOST_ELEMENTS + 1


@pytest.mark.parametrize(
    ("field", "receive"),
    [
        ("q.terms", lambda: arrived(terms=[pb.Term()] * MANY)),
        ("q.policy.pinned_frames", lambda: arrived(policy=pb.Policy(pinned_frames=[0] * MANY))),
        ("scope.videos", lambda: wire.scope_from_proto(pb.Scope(videos=[pb.ScopeVideo()] * MANY))),
        (
            "block.metadata",
            lambda: bulk.block_from_proto(block_message(metadata={str(i): "" for i in range(MANY)})),
        ),
        ("block.named", lambda: bulk.block_from_proto(block_message(named=[pb.NamedEmbeddings()] * MANY))),
    ],
)
def test_a_million_elements_cost_no_million_objects(field: str, receive: Any) -> None:
    with pytest.raises(TooLarge) as caught:
        receive()
    assert caught.value.field == field
