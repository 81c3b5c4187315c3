"""Requests with a block as bytes: what is joined by hand is protobuf's own, and so is what is taken apart."""

from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from samples import KEY, block

from memory_service import wire
from memory_service.errors import InvalidArgument, TooLarge
from memory_service.types import Block, Query, Span
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.requests import Incoming, Outgoing, decode

LARGE = [bytes([number]) * 40_000 for number in range(3)]


def advance() -> pb.AdvanceRequest:
    query = wire.query_to_proto(Query(2, Span(0, 9)), "query")
    return pb.AdvanceRequest(key=wire.key_to_proto(KEY), query=query, sync=True, known_frames=[4, 5])


def large_block() -> Block:
    preview = [bytearray(b"abc"), memoryview(np.arange(4.0)), memoryview(np.empty((0, 3)))]
    return replace(block(6), parts={"latent": LARGE, "preview": preview}, metadata={"scene": "castle"})


def with_block(sent: Block) -> pb.AdvanceRequest:
    message = advance()
    bulk.put_block(sent, message.block)
    return message


def payloads(received: Block) -> dict[str, list[bytes]]:
    return {name: [bytes(data) for data in part] for name, part in received.parts.items()}


def test_protobuf_reads_what_was_joined() -> None:
    out = Outgoing(advance(), large_block())
    assert pb.AdvanceRequest.FromString(out.SerializeToString()) == with_block(large_block())
    assert (out.key, out.sync) == (advance().key, True)


def test_a_block_that_is_held_is_the_one_that_was_sent() -> None:
    held = Outgoing(advance(), large_block()).held()
    assert held.start == 6
    assert held.message() == with_block(large_block()).block


@pytest.mark.parametrize("sent", [large_block(), block(6)], ids=["large", "small"])
def test_a_block_comes_back(sent: Block) -> None:
    request = decode(pb.AdvanceRequest, Outgoing(advance(), sent).SerializeToString())
    apart = request.payloads if isinstance(request, Incoming) else None
    assert (apart is None) == (sent.parts["latent"] is not LARGE)
    assert [len(part.payloads) for part in request.block.parts] == [3] * len(sent.parts)
    received = bulk.block_from_proto(request.block, apart=apart)
    assert payloads(received) == payloads(bulk.block_from_proto(with_block(sent).block))
    assert (received.start, received.metadata) == (sent.start, sent.metadata)
    np.testing.assert_array_equal(received.embeddings, sent.embeddings)
    assert (request.key, request.known_frames, request.sync) == (advance().key, [4, 5], True)


def test_payloads_are_not_copied_on_their_way_in() -> None:
    data = Outgoing(advance(), large_block()).SerializeToString()
    request = decode(pb.AdvanceRequest, data)
    assert isinstance(request, Incoming)
    assert all(view.obj is data for part in request.payloads for view in part)


def test_a_block_in_two_pieces_is_merged_as_protobuf_does() -> None:
    first = pb.AppendRequest(block=pb.Block(start=6, parts=[pb.Part(name="latent", payloads=LARGE)]))
    second = pb.AppendRequest(block=pb.Block(start=7, parts=[pb.Part(name="preview", payloads=LARGE[::-1])]))
    data = first.SerializeToString() + second.SerializeToString()
    request, whole = decode(pb.AppendRequest, data), pb.AppendRequest.FromString(data)
    assert isinstance(request, Incoming)
    assert request.block.start == whole.block.start
    assert [list(map(bytes, part)) for part in request.payloads] == [
        list(part.payloads) for part in whole.block.parts
    ]


def test_very_many_fields_are_left_to_protobuf_and_its_limits() -> None:
    part = pb.Part(name="latent", payloads=[b""] * 70_000)
    request = decode(pb.AppendRequest, pb.AppendRequest(block=pb.Block(parts=[part])).SerializeToString())
    assert isinstance(request, pb.AppendRequest)
    with pytest.raises(TooLarge):
        bulk.block_from_proto(request.block)


def test_payloads_both_in_the_message_and_staged_are_refused() -> None:
    message = with_block(large_block())
    message.block.parts[0].local.add(offset=64, length=8)
    request = decode(pb.AdvanceRequest, message.SerializeToString())
    assert isinstance(request, Incoming)
    with pytest.raises(InvalidArgument) as caught:
        bulk.block_from_proto(request.block, lambda _extents: [], request.payloads)
    assert caught.value.field == "block.parts"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x12\xff\xff\x03" + bytes(70_000)])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(pb.AppendRequest, data)


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("block.parts[1].payloads", block(0, preview=[b""])),
        ("block.parts[0].payloads[1]", replace(block(0), parts={"latent": [b"", 5, b""]})),
        ("block.parts[0].name", replace(block(0), parts={7: [b""] * 3})),
        ("block.start", replace(block(0), start=1 << 70)),
    ],
)
def test_what_cannot_be_sent_is_named(field: str, sent: Block) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Outgoing(advance(), sent)
    assert caught.value.field == field
