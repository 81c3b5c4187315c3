"""Hand-joined messages are protobuf's own, and so is what is taken apart."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.framing import nested, prune, split, varint

PARTS = frozenset([3])


def block(payloads: list[bytes], start: int) -> pb.Block:
    return pb.Block(
        start=start,
        embeddings=b"embeddings",
        parts=[pb.Part(name="latent", payloads=payloads), pb.Part(name="preview")],
        metadata={"scene": "castle"},
        unix_ms=7,
    )


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 2**63 - 1))
def test_joined_pieces_parse_as_the_message(payloads: list[bytes], start: int) -> None:
    whole = block(payloads, start)
    small = pb.Block(start=start, embeddings=b"embeddings", metadata={"scene": "castle"}, unix_ms=7)
    latent = [pb.Part(name="latent").SerializeToString()]
    for payload in payloads:
        latent += nested(2, [memoryview(payload)])
    pieces = [small.SerializeToString(), *nested(3, latent)]
    pieces += nested(3, [pb.Part(name="preview").SerializeToString()])
    assert pb.Block.FromString(b"".join(pieces)) == whole


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 2**63 - 1))
def test_what_is_split_off_and_what_is_left_make_the_message(payloads: list[bytes], start: int) -> None:
    whole = block(payloads, start)
    rest, taken = split(memoryview(whole.SerializeToString()), PARTS)
    assert [number for number, _ in taken] == [3, 3]
    assert [pb.Part.FromString(view) for _, view in taken] == list(whole.parts)
    left = pb.Block.FromString(rest)
    whole.ClearField("parts")
    assert left == whole


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 2**63 - 1))
def test_what_is_pruned_stays_as_empty_fields(payloads: list[bytes], start: int) -> None:
    whole = block(payloads, start)
    rest, views = prune(whole.SerializeToString(), (3, 2))
    assert [[bytes(view) for view in part] for part in views] == [payloads, []]
    left = pb.Block.FromString(rest)
    assert left == block([b""] * len(payloads), start)


@given(st.binary(max_size=80))
def test_any_bytes_are_pruned_or_refused(data: bytes) -> None:
    try:
        rest, views = prune(data, (1, 2))
    except DecodeError:
        return
    assert sum(len(view) for part in views for view in part) <= len(data)
    assert len(rest) <= len(data)


def test_a_message_of_very_many_fields_is_not_walked() -> None:
    data = pb.Block(parts=[pb.Part(payloads=[b""] * 5000)]).SerializeToString()
    with pytest.raises(DecodeError, match="fields"):
        prune(data, (3, 2))


@given(st.binary(max_size=80))
def test_any_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    try:
        rest, taken = split(memoryview(data), frozenset([1, 2]))
    except DecodeError:
        return
    assert len(rest) + sum(len(view) for _, view in taken) <= len(data)


@given(st.integers(0, 40))
def test_a_message_cut_short_is_refused_or_ends_between_fields(cut: int) -> None:
    encoded = block([b"x" * 30], 5).SerializeToString()
    stop = min(cut, len(encoded) - 1)
    try:
        rest, taken = split(memoryview(encoded)[:stop], frozenset())
    except DecodeError:
        return
    assert taken == []
    assert rest == encoded[:stop]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63])
def test_varint_is_protobufs(value: int) -> None:
    message = pb.Handle.FromString(varint(2 << 3) + varint(value))
    assert message.epoch == value


@pytest.mark.parametrize("data", [b"\x0b", b"\x0c", b"\x00\x01", b"\xff" * 11, b"\x0a\xff"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        split(memoryview(data), frozenset([1]))
