"""Answers keep to the limit on messages."""

import dataclasses
from pathlib import Path
from unittest.mock import create_autospec

import grpc
import pytest
from samples import DIM, KEY, SPEC, embeddings

from memory_service import engine as engine_module
from memory_service import wire
from memory_service.engine import MemoryEngine
from memory_service.limits import Limits
from memory_service.servicer import Servicer
from memory_service.types import Block, Query, Span
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk

LATENT_BYTES = 7_000
MAX_MESSAGE_BYTES = 64 << 10


@pytest.mark.parametrize(("k", "some"), [(6, True), (400, True), (1536, False)])
def test_hits_and_frames_of_advance_fit_together(
    tmp_path: Path, k: int, some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Drawn at random, one in eight would take a byte less in each handle: room for a frame.
    monkeypatch.setattr(engine_module, "new_epoch", lambda: (1 << 52) - 1)
    engine = MemoryEngine(tmp_path / "data")
    servicer = Servicer(engine, Limits(max_message_bytes=MAX_MESSAGE_BYTES))
    engine.create_video(KEY, dataclasses.replace(SPEC, latent_dtype="float32", latent_shape=(1750,)))
    latent = bytes(LATENT_BYTES)
    for start in range(0, 6 * 256, 256):
        engine.append(KEY, Block(start, embeddings(start, 256), {"latent": [latent] * 256}))
    request = pb.AdvanceRequest(key=wire.key_to_proto(KEY))
    bulk.put_block(Block(6 * 256, embeddings(0, 1, DIM), {"latent": [latent]}), request.block)
    request.query.CopyFrom(wire.query_to_proto(Query(k, Span(0, 1 << 20)), "query"))
    encoded = servicer.Advance(request, create_autospec(grpc.ServicerContext))
    response = pb.AdvanceResponse.FromString(encoded)
    engine.close()
    assert len(response.hits) == k
    assert len(encoded) <= MAX_MESSAGE_BYTES
    assert bool(response.frames) == some
