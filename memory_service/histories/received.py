"""A reel that came from outside: trusted in nothing, not even where its checksums are right."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from memory_service.boundary.validate import check_block, check_spec
from memory_service.errors import DataLoss, InvalidArgument, Unavailable
from memory_service.histories.frames import Frames
from memory_service.histories.outline import Outline
from memory_service.histories.rewriting import block_again
from memory_service.limits import Limits
from memory_service.records import unpack_block, unpack_retrieval
from memory_service.reel import Kind, Record, aligned
from memory_service.store.failures import storage_error
from memory_service.store.scan import FileSource, Scan, scan
from memory_service.stored_block import StoredBlock
from memory_service.types import Block, Retrieval, VideoKey, VideoSpec

_FIELD = "data"


class Received:
    """A reel file that is to become the video `key`, open while inside the `with`.

    Opening verifies all checksums and that nothing is missing at its end; reading blocks verifies what they
    hold, as for an append. What is wrong with the bytes is DataLoss, what is wrong with their meaning
    InvalidArgument or TooLarge.
    """

    def __init__(self, path: Path, key: VideoKey, limits: Limits) -> None:
        self.path = path
        self.inode = 0
        self._key = key
        self._limits = limits

    def __enter__(self) -> Self:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            source = FileSource(fd)
            if not len(source):
                raise InvalidArgument("the reel is empty", field=_FIELD, expected="an exported video")
            self._records = self._scanned(source).records
            self._mapped = mmap.mmap(fd, len(source), access=mmap.ACCESS_READ)
            self._pages = memoryview(self._mapped)
        finally:
            os.close(fd)
        with _sound():
            self._replay()
            check_spec(self.spec, self._limits)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pages = memoryview(b"")

    def check_size(self) -> None:
        """Raises DataLoss where the file has been cut, Unavailable where that cannot be told."""
        try:
            size = self._mapped.size()
        except OSError as exc:
            raise storage_error("the reel that is imported cannot be used", exc) from exc
        if size < len(self._mapped):
            raise DataLoss(
                f"the reel was cut to {size} bytes while it was read",
                field=_FIELD,
                expected="a data directory that nobody else writes to",
            )

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes of the file."""
        return self._pages[offset : offset + length]

    def check_expected(self, expected: VideoSpec) -> None:
        """Raises InvalidArgument where the video is of another encoder, dtype or geometry."""
        for name in ("embedding_dim", "latent_dtype", "latent_shape", "encoder_id", "named_dims"):
            wanted, found = getattr(expected, name), getattr(self.spec, name)
            if (tuple(wanted) if name == "latent_shape" else wanted) != found:
                raise InvalidArgument(
                    f"the reel's {name} is {found}", field=f"expected.{name}", expected=str(found)
                )

    def blocks(self) -> Iterator[Block]:
        """The blocks, one at a time, each verified. Raises DataLoss, InvalidArgument, TooLarge."""
        for kept in self._frames.blocks:
            with _sound():
                block = block_again(kept, self._key, _FIELD)
                check_block(block, self.spec, self._limits)
            yield block

    def retrievals(self) -> Iterator[Retrieval]:
        """The log of retrievals, one entry at a time. Raises InvalidArgument."""
        for record in self._records:
            if record.prefix.kind == Kind.RETRIEVAL:
                with _sound():
                    retrieval = unpack_retrieval(self._key, record)
                    _require(_is_retrieval(retrieval), record, "an entry of the retrieval log")
                yield retrieval

    def _scanned(self, source: FileSource) -> Scan:
        """All records. Raises DataLoss, and InvalidArgument for a format that is newer."""
        try:
            found = scan(Path("<sent>"), source)
        except Unavailable as exc:
            raise InvalidArgument(str(exc), field=_FIELD, expected="a format that this server reads") from exc
        except DataLoss as exc:
            exc.field = _FIELD
            raise
        last = found.records[-1]
        if found.recovery is not None or last.prefix.kind != Kind.COMMIT or last.prefix.durable < last.offset:
            reason = "" if found.recovery is None else f": {found.recovery.reason}"
            raise DataLoss(
                f"the reel is not whole: it ends at byte {found.end}{reason}",
                field=_FIELD,
                expected="all bytes of an export, or of the reel of a closed video",
            )
        return found

    def _replay(self) -> None:
        """Spec, seal and frames as the records state them."""
        outline = Outline(self._records[0])
        self._frames = Frames(self._key)
        for record in self._records[1:]:
            kind, header = record.prefix.kind, record.header
            _require(kind not in (Kind.VIDEO, Kind.FORK), record, "an export, which shares nothing")
            if kind == Kind.BLOCK:
                _require(header["start"] == outline.length and header["n"] > 0, record, "blocks in order")
                stored = unpack_block(record)
                _require(_fits(stored, record), record, "pieces of the record's own body, each used once")
                self._frames.add(stored, self, outline.epoch)
            elif kind == Kind.TRUNCATE:
                _require(0 <= header["length"] <= outline.length, record, "a length up to the video's")
                self._frames.truncate(header["length"], self, record.end)
            outline.take(record)
        self.spec = outline.created.spec
        self.sealed = outline.sealed


def _require(holds: bool, record: Record, expected: str) -> None:
    if not holds:
        raise InvalidArgument(
            f"record {record.prefix.sequence} of the reel, at byte {record.offset}, does not fit",
            field=_FIELD,
            expected=expected,
        )


def _fits(stored: StoredBlock, record: Record) -> bool:
    """Whether a block's pieces lie in the body of its record, and take together no more than it.

    Otherwise a reel could name the same bytes over and over, and be many times larger when it is rewritten.
    """
    frames = range(stored.start, stored.stop)
    all_rows = (stored.layout.embeddings, *stored.layout.named.values())
    pieces = [(stored.body + rows.offset, len(frames) * rows.row_bytes) for rows in all_rows]
    pieces += [stored.payload(part, frame)[:2] for part in stored.parts for frame in frames]
    num_bytes = record.prefix.body_bytes
    return all(
        0 <= offset - record.body <= offset - record.body + size <= num_bytes for offset, size in pieces
    ) and sum(aligned(size) for _, size in pieces) <= aligned(num_bytes)


def _is_retrieval(entry: Retrieval) -> bool:
    """Whether all values of an entry have their types."""
    asked = () if entry.query_frame is None else (entry.query_frame,)
    whole = (entry.epoch, entry.length, entry.k, entry.search_us, entry.unix_ms, entry.num_candidates)
    frames = (*entry.frames, *entry.runner_up_frames, *asked, entry.eligible.start, entry.eligible.stop)
    scores = (*entry.scores, *entry.runner_up_scores)
    names = (entry.policy, *(name for key in entry.videos for name in (key.pool, key.video)))
    return (
        all(type(value) is int and 0 <= value < 1 << 63 for value in (*whole, *frames))
        and all(type(score) is float for score in scores)
        and all(type(name) is str for name in names)
    )


@contextmanager
def _sound() -> Iterator[None]:
    """Headers are right by their checksums; that they are what a header must be shows when they are read."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise InvalidArgument(
            f"a record of the reel is not what its type asks for: {exc!r}",
            field=_FIELD,
            expected="records as docs/reel-format.md describes them",
        ) from exc
