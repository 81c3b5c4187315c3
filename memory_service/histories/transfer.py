"""Export and import: a video as one file, from one memory to another."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from memory_service.errors import AlreadyExists
from memory_service.histories.epochs import new_epoch
from memory_service.histories.received import Received
from memory_service.histories.rewriting import Rewriting, block_again, in_chunks
from memory_service.limits import Limits
from memory_service.pooling.quota import Ledger
from memory_service.store.failures import storage_error
from memory_service.store.files import FileStore
from memory_service.types import Buffer, EventKind, VideoInfo, VideoKey, VideoSpec, VideoState
from memory_service.videos import Videos

_CHUNK_BYTES = 1 << 20


class Transfer:
    """Exports and imports videos. Safe for threads; keys have been validated.

    Memory is bounded by one block and the reel's headers, whatever the size of the video.
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
            yield from in_chunks(records, _CHUNK_BYTES)

    def imported(self, key: VideoKey, reel: Iterable[Buffer], expected: VideoSpec | None) -> VideoInfo:
        """See `Memory.import_video`."""
        self._videos.check_open()
        if self._store.exists(key):
            raise _exists(key)
        with self._store.scratch() as sent, self._store.scratch() as rewritten:
            self._receive(key, reel, sent)
            num_bytes = self._rewrite(key, sent, rewritten, expected)
            there, new = self._videos.get_or_make(
                key, EventKind.IMPORTED, num_bytes, lambda: self._store.adopt(rewritten, key)
            )
        if not new:
            raise _exists(key)
        return there

    def _receive(self, key: VideoKey, reel: Iterable[Buffer], sent: Path) -> None:
        """Write what comes to a file; its bytes are booked while they come, so that no quota is overrun."""
        booked = 0
        try:
            with _disk():
                file = sent.open("xb")
            with file:
                for chunk in reel:
                    size = memoryview(chunk).nbytes
                    self._ledger.book(key.pool, size)
                    booked += size
                    with _disk():
                        file.write(chunk)
                        file.flush()
        finally:
            self._ledger.correct(key.pool, -booked)

    def _rewrite(self, key: VideoKey, sent: Path, rewritten: Path, expected: VideoSpec | None) -> int:
        """Verify what came and write it as a reel of its own, durably; its size in bytes."""
        with _disk(), Received(sent, key, self._limits) as received:
            if expected is not None:
                received.check_expected(expected)
            state = VideoState(new_epoch(), 0, 0)
            info = VideoInfo(key, received.spec, state, time.time_ns() // 1_000_000, sealed=received.sealed)
            writing = Rewriting(state.epoch)
            with rewritten.open("xb") as file:
                for buffers in writing.video(info, received.blocks(), received.retrievals()):
                    file.writelines(buffers)
                file.flush()
                os.fdatasync(file.fileno())
        return writing.end


@contextmanager
def _disk() -> Iterator[None]:
    """What the operating system says of our own files is said of the memory, not of the sender's reel."""
    try:
        yield
    except OSError as exc:
        raise storage_error("the reel that is imported cannot be kept", exc) from exc


def _exists(key: VideoKey) -> AlreadyExists:
    return AlreadyExists(
        f"video {key.pool}/{key.video} is there", field="key", expected="the name of no video"
    )
