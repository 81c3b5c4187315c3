"""`MemoryClient`: the memory over gRPC. Imports neither torch nor faiss."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from memory_service import wire
from memory_service.boundary.validate_search import check_page
from memory_service.remote.connection import Connection
from memory_service.remote.local import LocalOffer
from memory_service.remote.local_path import read_of
from memory_service.remote.payloads import PayloadCache
from memory_service.remote.pipeline import Pipeline
from memory_service.remote.pools import PoolVerbs
from memory_service.remote.reader import Reader
from memory_service.remote.verbs import rows_wanted
from memory_service.remote.videos import VideoVerbs
from memory_service.remote.writer import Writer
from memory_service.security.tls import ClientTLS
from memory_service.types import (
    Advanced,
    Appended,
    Block,
    Found,
    Frame,
    Handle,
    Query,
    Retrieval,
    Scope,
    VideoKey,
)
from memory_service.v1 import memory_pb2 as pb


class MemoryClient(PoolVerbs, VideoVerbs):
    """The verbs of `memory_service.memory.Memory`, answered by a server.

        with MemoryClient("unix:/run/reverie/memory.sock") as memory:
            key = VideoKey("films", "take-1")
            memory.create_video(key, VideoSpec(1024, "bfloat16", (16, 60, 104), "latent-ae/sha256:0123abcd"))
            block = Block(0, embeddings, {"latent": latents})  # float32 [3, 1024] and three buffers
            advanced = memory.advance(key, block, Query(k=6, eligible=Span(1, 3)))
            context = {frame.handle: frame.parts["latent"] for frame in advanced.frames}

    `address` is "host:port" or "unix:/path". Nothing is connected before the first call.

    Every call ends within `timeout_s` seconds: with its answer, with the server's error, with `Unavailable`
    when the server could not be reached, with `Overloaded` when it was too busy all the time, or with
    `DeadlineExceeded` when it did not answer. Every verb may be repeated without harm, so a call that cannot
    reach the server is tried again until then: a client survives a restart of the server, and may be made
    before the server is up. What streams (append_stream, export_video, import_video, watch) begins within
    that time and may then last. Fetched payloads are checked against their checksums.

    An append is answered before it is safe from a loss of power. The client therefore holds each block until
    the server's durable watermark has passed it (about 100 ms), up to `retain_bytes`; a block that finds no
    room is appended with `sync`. When the server comes back with fewer frames than it had acknowledged, the
    client sends what is missing by itself, at the next append, advance, search or fetch of that video.

    What it fetches, the client keeps: up to `cache_bytes` of payloads, so that a frame that is retrieved
    again costs no bytes on the wire. A cached frame is answered only while its video is in the epoch in which
    it was fetched.

    On one machine, payloads go through files and only handles through messages where the server offers it
    (`--local-path`) and its files can be opened from here; `local` False leaves that out. Blocks that went
    this way are not held: a loss of power takes the client as well. Views of payloads are of mapped files.

    `tls` encrypts, and proves who is there; `token` goes with every call, and is refused where it would leave
    this machine unencrypted, unless `insecure_token` says that the network is trusted.

    One client may be used by many threads. It does not survive a fork: make it in the process that uses it
    (start methods "spawn" and "forkserver" are safe). Arrays and buffers of answers are read-only.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: ClientTLS | None = None,
        insecure_token: bool = False,
        timeout_s: float = 10.0,
        retain_bytes: int = 64 << 20,
        cache_bytes: int = 64 << 20,
        local: bool = True,
    ) -> None:
        """Raises InvalidArgument for a token that is not to be sent, Unavailable for unusable TLS files."""
        connection = Connection(address, timeout_s, token=token, tls=tls, insecure_token=insecure_token)
        payloads = PayloadCache(cache_bytes)
        self._local = LocalOffer(connection, wanted=local)
        super().__init__(connection, Writer(connection, retain_bytes, payloads, self._local), payloads)
        self._reader = Reader(connection, self._writer, payloads, self._local)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(
        self, key: VideoKey, block: Block, *, epoch: int | None = None, sync: bool = False
    ) -> Appended:
        """Append one block, exactly once and in order; see `Memory.append` for its guarantees.

        Raises OutOfOrder on a gap, AlreadyExists where other bytes hold these frames, Fenced when `epoch` is
        over, NotFound, Sealed, InvalidArgument, TooLarge, Exhausted.
        """
        request = wire.fill(pb.AppendRequest(key=wire.key_to_proto(key), sync=sync), epoch=epoch)
        response = self._writer.write(key, block, request, self._connection.append)
        return Appended(wire.state_from_proto(response.state), response.duplicate)

    def append_stream(
        self, key: VideoKey, blocks: Iterable[Block], *, epoch: int | None = None, sync: bool = False
    ) -> Iterator[Appended]:
        """Append blocks without waiting for the answer to one before the next is sent.

        `blocks` is iterated in a thread of its own, a bounded number of blocks ahead of the answers, which
        come in their order. A block that has no answer within the timeout raises DeadlineExceeded; a stream
        that breaks goes on where it was. The first error ends the iteration: what was answered before is
        kept. Raises what `append` raises, and what `blocks` raises.
        """
        return Pipeline(self._connection, self._writer, key, epoch=epoch, sync=sync).run(blocks)

    def search(
        self, key: VideoKey, queries: Sequence[Query], *, scope: Scope | None = None, log: bool = True
    ) -> Found:
        """The k best eligible frames of each query, best first; sees everything appended before.

        Raises NotFound, InvalidArgument, TooLarge.
        """
        messages = [wire.query_to_proto(query, f"queries[{i}]") for i, query in enumerate(queries)]
        request = pb.SearchRequest(key=wire.key_to_proto(key), queries=messages, unlogged=not log)
        if scope is not None:
            request.scope.CopyFrom(wire.scope_to_proto(scope))
        response = self._writer.read(key, self._stub.Search, request)
        hits = (tuple(map(wire.hit_from_proto, result.hits)) for result in response.results)
        return Found(wire.state_from_proto(response.state), tuple(hits))

    def fetch(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> Sequence[Frame]:
        """Payloads in the order of the handles; empty `parts` means all parts.

        Raises NotFound for a stale or unknown handle or a part that the frame lacks, DataLoss when a payload
        fails its checksum, on the server's disk or on its way here.
        """
        return self._reader.fetch(handles, parts)

    def advance(
        self,
        key: VideoKey,
        block: Block,
        query: Query,
        *,
        known: Collection[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> Advanced:
        """Append `block`, then search for the next one: one round trip per block.

        `known` are the handles whose payload the caller already holds; the payloads of all other hits come
        back, from the server or from those fetched before. Raises what append and search raise.
        """
        request = pb.AdvanceRequest(
            key=wire.key_to_proto(key),
            query=wire.query_to_proto(query, "query"),
            known_frames=self._reader.known_frames(key, query, known),
            sync=sync,
        )
        wire.fill(request, epoch=epoch)
        before = self._payloads.epoch(key)
        answer = self._writer.write(key, block, request, self._connection.advance)
        hits = answer.hits
        came = answer.frames(read_of(self._local.path()))
        frames = self._reader.completed([hit.handle for hit in hits], came, known, before)
        appended = Appended(wire.state_from_proto(answer.state), answer.message.duplicate)
        return Advanced(appended, hits, frames)

    def retrievals(
        self, key: VideoKey, *, start: int = 0, limit: int | None = None, newest_first: bool = False
    ) -> Sequence[Retrieval]:
        """Entries [start, start + limit) of a video's retrieval log, oldest or newest first.

        Raises NotFound, InvalidArgument.
        """
        check_page(start, limit)
        request = pb.ListRetrievalsRequest(key=wire.key_to_proto(key))
        wire.fill(request, skip=start, newest_first=newest_first)
        retrievals: list[Retrieval] = []
        while True:
            wire.fill(request, page_size=rows_wanted(limit, len(retrievals)))
            response = self._call(self._stub.ListRetrievals, request)
            retrievals += (wire.retrieval_from_proto(key, message) for message in response.retrievals)
            request.page_token, request.skip = response.next_page_token, 0
            if not request.page_token or (limit is not None and len(retrievals) >= limit):
                return retrievals[:limit]

    def close(self) -> None:
        """Wait until every appended block is durable, then hang up; idempotent.

        Raises Unavailable or DeadlineExceeded when the server does not confirm it; hangs up all the same.
        """
        try:
            self._writer.settle()
        finally:
            self._local.close()
            self._connection.close()
