"""Export and import: a video as one file, from one memory to another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from memory_service.chunks import in_chunks
from memory_service.errors import AlreadyExists
from memory_service.histories.epochs import new_epoch
from memory_service.histories.received import Received
from memory_service.histories.rewriting import Rewriting, block_again
from memory_service.limits import Limits
from memory_service.pooling.quota import Ledger
from memory_service.store.failures import storage_error
from memory_service.store.files import FileStore
from memory_service.types import Buffer, EventKind, VideoInfo, VideoKey, VideoSpec, VideoState
from memory_service.videos import Videos

_CHUNK_BYTES = 1 << 20


class Transfer:
    """Exports and imports videos. Safe for threads; keys have been validated.

    Memory is bounded by one block and the reel's headers, whatever the size of the video. An import takes the
    space of what was sent and of what becomes the video until it is done, and books both.
    """

    def __init__(self, videos: Videos, store: FileStore, ledger: Ledger, limits: Limits) -> None:
        self._videos = videos
        self._store = store
        self._ledger = ledger
        self._limits = limits

    def exported(self, key: VideoKey) -> Iterator[bytes]:
        """See `Memory.export_video`. The video is as it was when the first chunk was asked for."""
        with self._videos.use(key) as video:
            info, kept, retrievals = video.snapshot()
            blocks = (block_again(block, key, "key") for block in kept)
            records = Rewriting(info.state.epoch).video(info, blocks, retrievals)
            yield from in_chunks(chain.from_iterable(records), _CHUNK_BYTES)

    def imported(self, key: VideoKey, reel: Iterable[Buffer], expected: VideoSpec | None) -> VideoInfo:
        """See `Memory.import_video`."""
        self._videos.check_open()
        if self._store.exists(key):
            raise _exists(key)
        with self._scratch(key) as sent, self._scratch(key) as rewritten:
            self._receive(reel, sent)
            self._rewrite(key, sent.path, rewritten, expected)

            def adopt() -> None:
                self._store.adopt(rewritten.path, key)
                rewritten.num_bytes = 0  # they are the video's now

            num_bytes = rewritten.num_bytes
            there, new = self._videos.get_or_make(
                key, EventKind.IMPORTED, num_bytes, adopt, booked_bytes=num_bytes
            )
        if not new:
            raise _exists(key)
        return there

    @contextmanager
    def _scratch(self, key: VideoKey) -> Iterator[_Scratch]:
        """A file that is gone after the `with`, and what is booked for it as well."""
        with self._store.scratch() as path:
            scratch = _Scratch(path, self._ledger, key.pool)
            try:
                yield scratch
            finally:
                self._ledger.correct(key.pool, -scratch.num_bytes)

    def _receive(self, reel: Iterable[Buffer], sent: _Scratch) -> None:
        """Write what comes to a file."""
        with _disk():
            file = sent.path.open("xb")
        with file:
            for chunk in reel:
                sent.book(memoryview(chunk).nbytes)
                with _disk():
                    file.write(chunk)
                    file.flush()

    def _rewrite(self, key: VideoKey, sent: Path, rewritten: _Scratch, expected: VideoSpec | None) -> None:
        """Verify what came and write it as a reel of its own, durably."""
        with _disk(), Received(sent, key, self._limits) as received:
            if expected is not None:
                received.check_expected(expected)
            state = VideoState(new_epoch(), 0, 0)
            info = VideoInfo(key, received.spec, state, time.time_ns() // 1_000_000, sealed=received.sealed)
            writing = Rewriting(state.epoch)
            with rewritten.path.open("xb") as file:
                for buffers in writing.video(info, received.blocks(), received.retrievals()):
                    rewritten.book(writing.end - rewritten.num_bytes)
                    file.writelines(buffers)
                file.flush()
                os.fdatasync(file.fileno())


@dataclass(slots=True)
class _Scratch:
    """A file on its way to a video of `pool`: `num_bytes` are booked for it, each before it is written."""

    path: Path
    ledger: Ledger
    pool: str
    num_bytes: int = 0

    def book(self, num_bytes: int) -> None:
        """Book more. Raises Exhausted."""
        self.ledger.book(self.pool, num_bytes)
        self.num_bytes += num_bytes


@contextmanager
def _disk() -> Iterator[None]:
    """What the operating system says of our own files is said of the memory, not of the sender's reel."""
    try:
        yield
    except OSError as exc:
        raise storage_error("the reel that is imported cannot be kept", exc) from exc


def _exists(key: VideoKey) -> AlreadyExists:
    return AlreadyExists(f"video {key} is there", field="key", expected="the name of no video")
