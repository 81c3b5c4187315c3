"""`MemoryClient`: the memory over gRPC. Imports neither torch nor faiss."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc

from memory_service import bulk, wire
from memory_service.connection import Connection
from memory_service.errors import NotFound
from memory_service.types import (
    Advanced,
    Appended,
    Block,
    Found,
    Frame,
    Handle,
    Query,
    Retrieval,
    ServerInfo,
    VideoInfo,
    VideoKey,
    VideoSpec,
)
from memory_service.v1 import memory_pb2 as pb
from memory_service.writer import Writer


class MemoryClient:
    """The verbs of `memory_service.types.Memory`, answered by a server.

        with MemoryClient("unix:/run/reverie/memory.sock") as memory:
            key = VideoKey("films", "take-1")
            memory.create_video(key, VideoSpec(1024, "bfloat16", (16, 60, 104), "latent-ae/sha256:0123abcd"))
            block = Block(0, embeddings, {"latent": latents})  # float32 [3, 1024] and three buffers
            advanced = memory.advance(key, block, Query(k=6, eligible=Span(1, 3)))
            context = {frame.handle: frame.parts["latent"] for frame in advanced.frames}

    `address` is "host:port" or "unix:/path". Nothing is connected before the first call.

    Every call ends within `timeout_s` seconds: with its answer, with the server's error, with `Unavailable`
    when the server could not be reached, or with `DeadlineExceeded` when it did not answer. Every verb may be
    repeated without harm, so a call that cannot reach the server is tried again until then: a client survives
    a restart of the server, and may be made before the server is up. Fetched payloads are checked against
    their checksums.

    An append is answered before it is safe from a loss of power. The client therefore holds each block until
    the server's durable watermark has passed it (about 100 ms), up to `retain_bytes`; a block that finds no
    room is appended with `sync`. When the server comes back with fewer frames than it had acknowledged, the
    client sends what is missing by itself, at the next append, advance, search or fetch of that video.

    One client may be used by many threads. It does not survive a fork: make it in the process that uses it
    (start methods "spawn" and "forkserver" are safe). Arrays and buffers of answers are read-only.
    """

    def __init__(self, address: str, *, timeout_s: float = 10.0, retain_bytes: int = 64 << 20) -> None:
        self._connection = Connection(address, timeout_s)
        self._writer = Writer(self._connection, retain_bytes)
        self._call, self._stub = self._connection.call, self._connection.stub

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_video(self, key: VideoKey, spec: VideoSpec) -> VideoInfo:
        """Create a video, or get the one that is there with the same spec.

        Raises AlreadyExists when it is there with another spec, InvalidArgument on a bad id or spec.
        """
        request = pb.CreateVideoRequest(key=wire.key_to_proto(key), spec=wire.spec_to_proto(spec))
        return wire.video_from_proto(self._call(self._stub.CreateVideo, request).video)

    def get_video(self, key: VideoKey) -> VideoInfo:
        """Spec and state of a video. Raises NotFound."""
        response = self._call(self._stub.GetVideo, pb.GetVideoRequest(key=wire.key_to_proto(key)))
        info = wire.video_from_proto(response.video)
        self._writer.observe(key, info.state)
        return info

    def list_videos(self, pool: str) -> Sequence[VideoInfo]:
        """All videos of a pool, by name."""
        request = wire.fill(pb.ListVideosRequest(), pool=pool)
        videos: list[VideoInfo] = []
        while True:
            response = self._call(self._stub.ListVideos, request)
            videos += map(wire.video_from_proto, response.videos)
            request.page_token = response.next_page_token
            if not request.page_token:
                return videos

    def drop_video(self, key: VideoKey) -> None:
        """Forget a video and all its frames. Raises NotFound."""
        request = pb.DropVideoRequest(key=wire.key_to_proto(key))
        attempts = 0

        def attempt(seconds: float) -> None:
            nonlocal attempts
            attempts += 1
            try:
                self._stub.DropVideo(request, timeout=seconds)
            except grpc.RpcError as exc:
                # After an attempt whose answer was lost, a video that is gone was dropped by that attempt.
                if attempts == 1 or exc.code() is not grpc.StatusCode.NOT_FOUND:
                    raise

        self._connection.repeat(attempt)
        self._writer.forget(key)

    def append(
        self, key: VideoKey, block: Block, *, epoch: int | None = None, sync: bool = False
    ) -> Appended:
        """Append one block, exactly once and in order; see `Memory.append` for its guarantees.

        Raises OutOfOrder on a gap, AlreadyExists where other bytes hold these frames, Fenced when `epoch` is
        over, NotFound, InvalidArgument, TooLarge.
        """
        request = wire.fill(pb.AppendRequest(key=wire.key_to_proto(key), sync=sync), epoch=epoch)
        response = self._writer.write(key, block, request, self._stub.Append)
        return Appended(wire.state_from_proto(response.state), response.duplicate)

    def search(self, key: VideoKey, queries: Sequence[Query], *, log: bool = True) -> Found:
        """The k nearest eligible frames of each query, best first; sees everything appended before.

        Raises NotFound, InvalidArgument, TooLarge.
        """
        messages = [wire.query_to_proto(query, f"queries[{i}]") for i, query in enumerate(queries)]
        request = pb.SearchRequest(key=wire.key_to_proto(key), queries=messages, unlogged=not log)
        response = self._writer.read(key, self._stub.Search, request)
        hits = (tuple(map(wire.hit_from_proto, result.hits)) for result in response.results)
        return Found(wire.state_from_proto(response.state), tuple(hits))

    def fetch(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> Sequence[Frame]:
        """Payloads in the order of the handles; empty `parts` means all parts.

        Raises NotFound for a stale or unknown handle or a part that the frame lacks, DataLoss when a payload
        fails its checksum, on the server's disk or on its way here.
        """
        try:
            return self._fetch(handles, parts)
        except NotFound:
            if not self._writer.restore(list({handle.key for handle in handles})):
                raise
            return self._fetch(handles, parts)

    def advance(
        self,
        key: VideoKey,
        block: Block,
        query: Query,
        *,
        known: Sequence[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> Advanced:
        """Append `block`, then search for the next one: one round trip per block.

        `known` are the handles whose payload the caller already holds; the payloads of all other hits come
        back. Raises what append and search raise.
        """
        start, stop = query.eligible.start, query.eligible.stop
        request = pb.AdvanceRequest(
            key=wire.key_to_proto(key),
            query=wire.query_to_proto(query, "query"),
            known_frames=[h.frame for h in known if h.key == key and start <= h.frame < stop],
            sync=sync,
        )
        wire.fill(request, epoch=epoch)
        response = self._writer.write(key, block, request, self._stub.Advance)
        hits = tuple(map(wire.hit_from_proto, response.hits))
        payloads = {frame.handle: frame for frame in map(bulk.frame_from_proto, response.frames)}
        missing = [hit.handle for hit in hits if hit.handle not in payloads and hit.handle not in set(known)]
        if missing:
            payloads |= {frame.handle: frame for frame in self.fetch(missing)}
        fetched = tuple(payloads[hit.handle] for hit in hits if hit.handle in payloads)
        appended = Appended(wire.state_from_proto(response.state), response.duplicate)
        return Advanced(appended, hits, fetched)

    def retrievals(self, key: VideoKey) -> Sequence[Retrieval]:
        """The retrieval log of a video, oldest first. Raises NotFound."""
        request = pb.ListRetrievalsRequest(key=wire.key_to_proto(key))
        retrievals: list[Retrieval] = []
        while True:
            response = self._call(self._stub.ListRetrievals, request)
            retrievals += (wire.retrieval_from_proto(key, message) for message in response.retrievals)
            request.page_token = response.next_page_token
            if not request.page_token:
                return retrievals

    def info(self) -> ServerInfo:
        """What is serving, and its limits."""
        return wire.info_from_proto(self._call(self._stub.ServerInfo, pb.ServerInfoRequest()))

    def close(self) -> None:
        """Wait until every appended block is durable, then hang up; idempotent.

        Raises Unavailable or DeadlineExceeded when the server does not confirm it; hangs up all the same.
        """
        try:
            self._writer.settle()
        finally:
            self._connection.close()

    def _fetch(self, handles: Sequence[Handle], parts: Sequence[str]) -> list[Frame]:
        messages = [wire.handle_to_proto(handle, f"handles[{i}]") for i, handle in enumerate(handles)]
        frames: list[Frame] = []

        def attempt(seconds: float) -> list[Frame]:
            # A stream that broke off goes on with the frame after the last one that came.
            rest = pb.FetchRequest(handles=messages[len(frames) :], parts=parts)
            for response in self._stub.Fetch(rest, timeout=seconds):
                frames.append(bulk.frame_from_proto(response.frame))
            return frames

        return self._connection.repeat(attempt)
