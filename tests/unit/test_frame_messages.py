"""Frames as bytes: what one end joins, protobuf and the other end read alike."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss
from memory_service.histories.stored_frame import Payload, StoredFrame
from memory_service.types import Appended, Buffer, Handle, Hit, ReelExtent, VideoKey, VideoState
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import frame_messages
from memory_service.wire.frame_messages import AdvanceAnswer, FetchAnswer, advance_response, fetch_response

KEY = VideoKey("pool", "video")
APPENDED = Appended(VideoState(7, 12, 9), duplicate=True)


class Reel:
    """Pages of a file that is all in memory."""

    path = Path("/data/pool/video.reel")
    inode = 42

    def __init__(self, data: bytes) -> None:
        self.data = data

    def check_size(self) -> None:
        """It is all there."""

    def view(self, offset: int, length: int) -> memoryview:
        return memoryview(self.data)[offset : offset + length]


REEL = Reel(np.random.default_rng(0).bytes(10_000))


def payload(offset: int, length: int) -> Payload:
    view = REEL.view(offset, length)
    return Payload(REEL, offset, view, crc32c(view))


def stored(frame: int) -> StoredFrame:
    vector = np.arange(1, 9, dtype=np.float32).tobytes()
    embedding = Payload(REEL, 0, memoryview(vector), crc32c(vector))
    return StoredFrame(
        handle=Handle(KEY, 7, frame),
        embedding=embedding,
        parts={"latent": payload(64 * frame, 1000), "preview": payload(5000, 0)},
        named={"text": embedding},
        metadata={"scene": "castle"},
        unix_ms=1234,
    )


def unread(_extent: ReelExtent, _crc: int) -> None:
    raise AssertionError("no place was answered")


def from_reel(extent: ReelExtent, crc: int) -> Buffer | None:
    assert (extent.path, extent.inode) == ("pool/video.reel", 42)
    view = REEL.view(extent.offset, extent.length)
    return view if crc32c(view) == crc else None


@pytest.mark.parametrize(("local", "small_bytes"), [(False, 1 << 16), (False, 0), (True, 1 << 16), (True, 0)])
def test_an_answer_to_advance_comes_back(
    local: bool, small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_messages, "_SMALL_BYTES", small_bytes)
    frames = [stored(3), stored(5)]
    hits = [Hit(frame.handle, 0.5) for frame in frames]
    data = advance_response(APPENDED, hits, frames, 1 << 20, local=local)
    assert len(data) < 1000 or not local
    answer = AdvanceAnswer(data)
    message = answer.message
    found = {frame.handle: frame for frame in answer.frames(from_reel if local else unread)}
    assert message.duplicate
    assert (message.state.epoch, message.state.length, message.state.durable) == (7, 12, 9)
    assert answer.hits == tuple(hits)
    assert all(hit.handle is found[hit.handle].handle for hit in answer.hits)
    for frame in frames:
        got, expected = found[frame.handle], frame.verified("")
        assert {name: bytes(data) for name, data in got.parts.items()} == {
            name: bytes(data) for name, data in expected.parts.items()
        }
        np.testing.assert_array_equal(got.embedding, expected.embedding)
        np.testing.assert_array_equal(got.named["text"], expected.named["text"])
        assert (got.metadata, got.unix_ms) == (expected.metadata, expected.unix_ms)


def test_a_foreign_client_reads_it_with_protobuf_alone() -> None:
    message = pb.AdvanceResponse.FromString(
        advance_response(APPENDED, [Hit(Handle(KEY, 7, 3), 0.5)], [stored(3)], 1 << 20, local=False)
    )
    (frame,) = message.frames
    assert [part.name for part in frame.payloads] == ["latent", "preview"]
    assert frame.payloads[0].data == bytes(REEL.view(192, 1000))
    assert frame.payloads[0].crc32c == crc32c(frame.payloads[0].data)
    single = pb.FetchResponse.FromString(fetch_response(stored(3), local=False)).frame
    assert single == frame


@pytest.mark.parametrize(("local", "budget_bytes"), [(False, 3000), (True, 600)])
def test_frames_that_do_not_fit_stay_out(local: bool, budget_bytes: int) -> None:
    frames = [stored(frame) for frame in range(4)]
    hits = [Hit(frame.handle, 0.5) for frame in frames]
    data = advance_response(APPENDED, hits, frames, budget_bytes, local=local)
    assert len(data) <= budget_bytes
    found = AdvanceAnswer(data).frames(from_reel if local else unread)
    assert [frame.handle for frame in found] == [frames[0].handle, frames[1].handle]


def test_a_place_that_cannot_be_read_leaves_its_frame_out() -> None:
    data = advance_response(APPENDED, [], [stored(3)], 1 << 20, local=True)
    assert AdvanceAnswer(data).frames(lambda _extent, _crc: None) == []
    assert FetchAnswer(fetch_response(stored(3), local=True)).frame(lambda _extent, _crc: None) is None


@pytest.mark.parametrize("small_bytes", [1 << 16, 0])
def test_damage_on_the_way_is_found(small_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_messages, "_SMALL_BYTES", small_bytes)
    data = bytearray(fetch_response(stored(3), local=False))
    data[data.index(bytes(REEL.view(192, 1000))) + 500] ^= 1
    with pytest.raises(DataLoss) as caught:
        FetchAnswer(bytes(data)).frame(unread)
    assert caught.value.field == "frame.payloads.crc32c"


@pytest.mark.parametrize("answer", [AdvanceAnswer, FetchAnswer])
def test_what_is_no_message_is_refused(answer: type) -> None:
    with pytest.raises(DecodeError):
        answer(b"\xff\xff\xff")
