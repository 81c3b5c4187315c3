"""Requests that are wrong, by accident or on purpose: an error that names the field, and nothing changes."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from raw_requests import BAD_IDS, KEY, LENGTH, Send, append_request, query, search_request, vectors
from samples import DIM, SPEC, embeddings

from memory_service import errors, wire
from memory_service.errors import InvalidArgument, NotFound, ServiceError, TooLarge
from memory_service.types import Span
from memory_service.v1 import memory_pb2 as pb

pytestmark = pytest.mark.usefixtures("lives")


def refused(
    send: Send, request: Message, error: type[ServiceError] = InvalidArgument, field: str = ""
) -> None:
    method = type(request).__name__.removesuffix("Request")
    with pytest.raises(error) as caught:
        send(method, request.SerializeToString())
    assert caught.value.field == field
    assert type(caught.value) is error
    assert caught.value.expected or not field


class TestIds:
    @pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
    def test_of_a_video(self, send: Send, bad: str) -> None:
        for pool, video, field in ((bad, "video", "key.pool"), ("pool", bad, "key.video")):
            key = pb.VideoKey(pool=pool, video=video)
            refused(send, pb.CreateVideoRequest(key=key, spec=wire.spec_to_proto(SPEC)), field=field)
            refused(send, pb.GetVideoRequest(key=key), field=field)
            refused(send, pb.DropVideoRequest(key=key), field=field)
            refused(send, pb.AppendRequest(key=key, block=append_request().block), field=field)
            refused(send, pb.SearchRequest(key=key, queries=[query()]), field=field)
            refused(send, pb.ListRetrievalsRequest(key=key), field=field)
            handle = pb.Handle(key=key, epoch=1)
            refused(send, pb.FetchRequest(handles=[handle]), field=f"handles[0].{field}")
        refused(send, pb.ListVideosRequest(pool=bad), field="pool")

    @pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
    def test_of_a_part(self, send: Send, bad: str) -> None:
        request = append_request()
        request.block.parts.add(name=bad).payloads.extend([b"x"] * 3)
        refused(send, request, field="block.parts[1].name")

    def test_unknown_ones(self, send: Send) -> None:
        key = pb.VideoKey(pool="pool", video="nobody")
        refused(send, pb.GetVideoRequest(key=key), NotFound, "key")
        refused(send, pb.DropVideoRequest(key=key), NotFound, "key")
        refused(send, pb.AppendRequest(key=key, block=append_request().block), NotFound, "key")
        refused(send, pb.SearchRequest(key=key, queries=[query()]), NotFound, "key")
        refused(send, pb.FetchRequest(handles=[pb.Handle(key=key, epoch=1)]), NotFound, "handles[0].key")


class TestMissing:
    def test_messages_are_named(self, send: Send) -> None:
        key = wire.key_to_proto(KEY)
        refused(send, pb.CreateVideoRequest(), field="key")
        refused(send, pb.CreateVideoRequest(key=key), field="spec")
        refused(send, pb.CreateVideoRequest(key=key, spec=pb.VideoSpec()), field="spec.latent_dtype")
        refused(send, pb.GetVideoRequest(), field="key")
        refused(send, pb.DropVideoRequest(), field="key")
        refused(send, pb.AppendRequest(), field="key")
        refused(send, pb.AppendRequest(key=key), field="block")
        refused(send, pb.AppendRequest(key=key, block=pb.Block()), field="block.parts")
        refused(send, pb.SearchRequest(), field="key")
        refused(send, search_request(pb.Query(k=1, frame=0)), field="queries[0].eligible")
        refused(send, search_request(query(), pb.Query(k=1, eligible=pb.Span())), field="queries[1].vector")
        refused(send, pb.FetchRequest(handles=[pb.Handle()]), field="handles[0].key")
        refused(send, pb.AdvanceRequest(key=key), field="block")
        refused(send, pb.AdvanceRequest(key=key, block=append_request().block), field="query")
        refused(send, pb.ListRetrievalsRequest(), field="key")


class TestBlock:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, send: Send, value: float) -> None:
        refused(send, append_request(embeddings=vectors(3, value)), field="block.embeddings")

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", b"x" * 95, bytes(3 * 4 * DIM), embeddings(0, 2).tobytes(), embeddings(0, 6).tobytes()],
        ids=["empty", "a byte", "odd", "zero", "too short", "too long"],
    )
    def test_embeddings_of_another_size(self, send: Send, data: bytes) -> None:
        refused(send, append_request(embeddings=data), field="block.embeddings")

    @pytest.mark.parametrize("size", [0, 1, SPEC.latent_bytes - 1, SPEC.latent_bytes + 1])
    def test_latents_of_another_size(self, send: Send, size: int) -> None:
        request = append_request()
        request.block.parts[0].payloads[1] = bytes(size)
        refused(send, request, field="block.parts[0].payloads[1]")

    def test_counts_that_differ(self, send: Send) -> None:
        request = append_request()
        request.block.parts.add(name="preview").payloads.extend([b"x"] * 2)
        refused(send, request, field="block.parts[1].payloads")
        request = append_request()
        del request.block.parts[0].payloads[:]
        refused(send, request, field="block.embeddings")

    def test_a_part_twice(self, send: Send) -> None:
        request = append_request()
        request.block.parts.append(request.block.parts[0])
        refused(send, request, field="block.parts[1].name")

    @pytest.mark.parametrize("start", [-1, -(1 << 63)])
    def test_negative_start(self, send: Send, start: int) -> None:
        refused(send, append_request(start=start), field="block.start")

    @pytest.mark.parametrize("start", [LENGTH + 1, 1 << 40])
    def test_a_gap(self, send: Send, start: int) -> None:
        refused(send, append_request(start=start), errors.OutOfOrder, "block.start")

    def test_the_last_frame_number_there_is(self, send: Send) -> None:
        refused(send, append_request(start=(1 << 63) - 1), field="block.start")

    def test_other_bytes_of_kept_frames(self, send: Send) -> None:
        for start in range(LENGTH):
            with pytest.raises(errors.AlreadyExists):
                send("Append", append_request(start=start).SerializeToString())

    def test_a_wrong_epoch(self, send: Send) -> None:
        for epoch in (0, 1, (1 << 64) - 1):
            request = append_request()
            request.epoch = epoch
            refused(send, request, errors.Fenced, "epoch")

    def test_too_large_for_a_block(self, send: Send) -> None:
        request = append_request()
        request.block.parts.add(name="preview").payloads.extend([bytes(400_000)] * 3)
        refused(send, request, TooLarge, "block")

    def test_too_large_for_a_message(self, send: Send) -> None:
        request = append_request()
        request.block.parts.add(name="preview").payloads.extend([bytes(4_000_000)] * 3)
        refused(send, request, TooLarge)


class TestQuery:
    @pytest.mark.parametrize("k", [0, -1, -(1 << 31), 1 << 20, (1 << 31) - 1])
    def test_k(self, send: Send, k: int) -> None:
        refused(send, search_request(query(k=k)), field="queries[0].k")

    @pytest.mark.parametrize(
        ("start", "stop", "field"),
        [(-1, 3, ".start"), (0, -1, ".stop"), (5, 4, ""), (1 << 62, 0, ""), (-(1 << 63), 1, ".start")],
    )
    def test_span(self, send: Send, start: int, stop: int, field: str) -> None:
        message = query()
        message.eligible.CopyFrom(wire.span_to_proto(Span(start, stop), "eligible"))
        refused(send, search_request(query(), message), field=f"queries[1].eligible{field}")

    @pytest.mark.parametrize(
        "data",
        [b"", b"123", embeddings(0, 2).tobytes(), bytes(4 * DIM), vectors(1, np.nan), vectors(1, -np.inf)],
        ids=["empty", "odd", "too long", "zero", "nan", "inf"],
    )
    def test_embedding(self, send: Send, data: bytes) -> None:
        refused(send, search_request(query(embedding=data)), field="queries[0].embedding")

    @pytest.mark.parametrize("frame", [-1, -(1 << 63)])
    def test_frame(self, send: Send, frame: int) -> None:
        refused(send, search_request(query(frame=frame)), field="queries[0].frame")

    def test_a_frame_to_come(self, send: Send) -> None:
        refused(send, search_request(query(frame=LENGTH)), NotFound, "queries[0].frame")

    def test_too_many(self, send: Send) -> None:
        refused(send, search_request(*[query()] * 257), TooLarge, "queries")
        refused(
            send, search_request(*[pb.Query(k=1, eligible=pb.Span(), frame=0)] * 90_000), TooLarge, "queries"
        )


class TestHandles:
    def test_too_many(self, send: Send) -> None:
        handle = pb.Handle(key=wire.key_to_proto(KEY), epoch=1)
        refused(send, pb.FetchRequest(handles=[handle] * 40_000), TooLarge, "handles")

    def test_stale(self, send: Send) -> None:
        for epoch, frame in (
            (0, 0),
            (1, 0),
            ((1 << 63) - 1, 8),
            (1 << 63, 8),
            ((1 << 64) - 1, 0),
            (1, LENGTH),
        ):
            handle = pb.Handle(key=wire.key_to_proto(KEY), epoch=epoch, frame=frame)
            with pytest.raises(NotFound) as caught:
                send("Fetch", pb.FetchRequest(handles=[handle]).SerializeToString())
            assert caught.value.field.startswith("handles[0]")
            assert caught.value.expected

    def test_impossible(self, send: Send) -> None:
        handle = pb.Handle(key=wire.key_to_proto(KEY), epoch=1, frame=-1)
        refused(send, pb.FetchRequest(handles=[handle]), field="handles[0].frame")

    def test_a_known_frame_that_cannot_be(self, send: Send) -> None:
        request = pb.AdvanceRequest(key=wire.key_to_proto(KEY), block=append_request().block, query=query())
        request.known_frames.extend([0, -1])
        refused(send, request, field="known_frames[1]")

    def test_too_many_known_frames(self, send: Send) -> None:
        request = pb.AdvanceRequest(key=wire.key_to_proto(KEY), block=append_request().block, query=query())
        request.known_frames.extend([0] * 100_000)
        refused(send, request, TooLarge, "known_frames")


class TestWholeVideos:
    """Forks, truncations, seals, exports and imports that cannot be: the video stays as it is."""

    @pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
    def test_ids(self, send: Send, bad: str) -> None:
        key = pb.VideoKey(pool="pool", video=bad)
        target = wire.key_to_proto(KEY)
        refused(send, pb.ForkVideoRequest(parent=key, key=target), field="parent.video")
        refused(send, pb.ForkVideoRequest(parent=target, key=key), field="key.video")
        refused(send, pb.TruncateVideoRequest(key=key, epoch=1), field="key.video")
        refused(send, pb.SealVideoRequest(key=key, epoch=1), field="key.video")
        refused(send, pb.ExportVideoRequest(key=key), field="key.video")
        refused(send, pb.ImportVideoRequest(key=key), field="key.video")
        refused(send, pb.HeartbeatRequest(keys=[target, key]), field="keys[1].video")
        refused(send, pb.CreatePoolRequest(pool=bad, spec=pb.PoolSpec()), field="pool")
        refused(send, pb.GetPoolRequest(pool=bad), field="pool")
        refused(send, pb.UpdatePoolRequest(pool=bad, spec=pb.PoolSpec()), field="pool")
        refused(send, pb.DropPoolRequest(pool=bad), field="pool")
        refused(send, pb.WatchRequest(pool=bad), field="pool")
        if bad:
            refused(send, pb.WatchRequest(pool="pool", video=bad), field="video")

    def test_missing_messages(self, send: Send) -> None:
        key = wire.key_to_proto(KEY)
        refused(send, pb.ForkVideoRequest(), field="parent")
        refused(send, pb.ForkVideoRequest(parent=key), field="key")
        refused(send, pb.TruncateVideoRequest(), field="key")
        refused(send, pb.SealVideoRequest(), field="key")
        refused(send, pb.ExportVideoRequest(), field="key")
        refused(send, pb.ImportVideoRequest(data=b"x"), field="key")
        refused(send, pb.ImportVideoRequest(key=key, expected=pb.VideoSpec()), field="expected.latent_dtype")
        refused(send, pb.AppendStreamRequest(block=append_request().block), field="key")
        refused(send, pb.AppendStreamRequest(key=key), field="block")
        refused(send, pb.CreatePoolRequest(pool="x"), field="spec")
        refused(send, pb.UpdatePoolRequest(pool="x"), field="spec")

    @pytest.mark.parametrize("length", [-1, LENGTH + 1, 1 << 62, -(1 << 63)])
    def test_lengths(self, send: Send, length: int) -> None:
        key = wire.key_to_proto(KEY)
        refused(send, pb.TruncateVideoRequest(key=key, length=length), field="length")
        fork = pb.VideoKey(pool="pool", video="fork")
        refused(send, pb.ForkVideoRequest(parent=key, key=fork, length=length), field="length")

    def test_a_fork_in_the_middle_of_a_block(self, send: Send) -> None:
        fork = pb.VideoKey(pool="pool", video="fork")
        request = pb.ForkVideoRequest(parent=wire.key_to_proto(KEY), key=fork, length=4)
        refused(send, request, field="length")

    def test_epochs_that_are_not_now(self, send: Send) -> None:
        key = wire.key_to_proto(KEY)
        refused(send, pb.TruncateVideoRequest(key=key, length=3, epoch=7), errors.Fenced, "epoch")
        refused(send, pb.SealVideoRequest(key=key, epoch=7), errors.Fenced, "epoch")

    def test_a_fork_onto_a_video_that_is_there(self, send: Send) -> None:
        key = wire.key_to_proto(KEY)
        with pytest.raises(errors.AlreadyExists):
            send("ForkVideo", pb.ForkVideoRequest(parent=key, key=key).SerializeToString())

    @pytest.mark.parametrize("data", [b"", b"x", bytes(4096), b"\xff" * 100_000], ids=len)
    def test_a_file_that_is_no_reel(self, send: Send, data: bytes) -> None:
        copy = pb.VideoKey(pool="pool", video="copy")
        messages = [pb.ImportVideoRequest(key=copy), pb.ImportVideoRequest(data=data)]
        with pytest.raises((InvalidArgument, errors.DataLoss)):
            send("ImportVideo", *(message.SerializeToString() for message in messages))
        refused(send, pb.GetVideoRequest(key=copy), NotFound, "key")

    def test_a_key_that_comes_twice(self, send: Send) -> None:
        copy = pb.ImportVideoRequest(key=pb.VideoKey(pool="pool", video="copy")).SerializeToString()
        with pytest.raises(InvalidArgument) as caught:
            send("ImportVideo", copy, copy)
        assert caught.value.field == "key"

    def test_streams_without_a_message(self, send: Send) -> None:
        assert send("AppendStream") == send("AdvanceStream") == []
        with pytest.raises(InvalidArgument) as caught:
            send("ImportVideo")
        assert caught.value.field == "key"

    @pytest.mark.parametrize("field", ["max_bytes", "max_videos", "ttl_ms"])
    def test_quotas(self, send: Send, field: str) -> None:
        request = pb.CreatePoolRequest(pool="negative", spec=pb.PoolSpec(**{field: -1}))
        refused(send, request, field=f"spec.{field}")


class TestSearches:
    """Policies, filters, terms and scopes that cannot be."""

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("policy.min_gap_frames", {"policy": pb.Policy(min_gap_frames=-1)}),
            ("policy.mmr_lambda", {"policy": pb.Policy(mmr_lambda=1.5)}),
            ("policy.mmr_lambda", {"policy": pb.Policy(mmr_lambda=float("nan"))}),
            ("policy.min_score", {"policy": pb.Policy(min_score=float("nan"))}),
            ("policy.pinned_frames[0]", {"policy": pb.Policy(pinned_frames=[-1])}),
            ("policy.max_pinned", {"policy": pb.Policy(max_pinned=-1)}),
            ("weight", {"weight": float("inf")}),
            ("terms[0].name", {"terms": [pb.Term(name="text", embedding=bytes(4), weight=1)]}),
            ("terms[0].embedding", {"terms": [pb.Term(name="text", weight=1)]}),
        ],
    )
    def test_of_one_query(self, send: Send, field: str, changes: dict[str, Any]) -> None:
        request = pb.Query(k=1, frame=0, eligible=pb.Span(stop=9), **changes)
        refused(send, search_request(request), field=f"queries[0].{field}")

    def test_of_the_scope(self, send: Send) -> None:
        request = search_request(query())
        request.scope.videos.add()
        refused(send, request, field="scope.videos[0].key")
        request.scope.videos[0].key.CopyFrom(pb.VideoKey(pool="pool", video="nobody"))
        refused(send, request, NotFound, "scope.videos[0].key")
        request.scope.videos[0].key.CopyFrom(wire.key_to_proto(KEY))
        request.scope.videos[0].eligible.CopyFrom(pb.Span(start=5, stop=1))
        refused(send, request, field="scope.videos[0].eligible")

    def test_of_a_scope_with_countless_videos(self, send: Send) -> None:
        request = search_request(query())
        request.scope.videos.extend([pb.ScopeVideo(key=wire.key_to_proto(KEY))] * 20_000)
        refused(send, request, TooLarge, "scope.videos")


class TestPages:
    @pytest.mark.parametrize("token", ["x", "-1", "1e3", "9" * 30, "\u0661"])
    def test_tokens(self, send: Send, token: str) -> None:
        request = pb.ListRetrievalsRequest(key=wire.key_to_proto(KEY), page_token=token)
        refused(send, request, field="page_token")

    @pytest.mark.parametrize("token", ["/", "../x", "a b", "x" * 129, "\n"])
    def test_tokens_of_videos(self, send: Send, token: str) -> None:
        refused(send, pb.ListVideosRequest(pool="pool", page_token=token), field="page_token")

    def test_sizes(self, send: Send) -> None:
        refused(send, pb.ListVideosRequest(pool="pool", page_size=-1), field="page_size")
        refused(send, pb.ListRetrievalsRequest(key=wire.key_to_proto(KEY), page_size=-5), field="page_size")
        refused(send, pb.ListPoolsRequest(page_size=-1), field="page_size")
        refused(send, pb.ListRetrievalsRequest(key=wire.key_to_proto(KEY), skip=-1), field="skip")
