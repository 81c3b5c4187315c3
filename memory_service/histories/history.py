"""The history that is one video: reel, table of frames and index partition, changed together."""

from collections.abc import Sequence

from memory_service.errors import Fenced, InvalidArgument, OutOfOrder, Sealed, Unavailable
from memory_service.histories.duplicates import check_duplicate
from memory_service.histories.epochs import new_epoch
from memory_service.histories.frames import Frames
from memory_service.histories.lineage import branch_of, share
from memory_service.histories.outline import Outline
from memory_service.index.base import Index
from memory_service.records import PackedBlock, pack_truncation, unpack_block
from memory_service.reel import Kind, Record
from memory_service.store.base_reel import BaseReel
from memory_service.store.bases import Branch
from memory_service.store.reel_file import ReelFile
from memory_service.store.scan import Scan
from memory_service.types import Block, Embeddings, VideoInfo, VideoState


class History:
    """What happened to one video, in order. Its caller holds the video's lock."""

    def __init__(self, reel: ReelFile, found: Scan, bases: Sequence[BaseReel], index: Index) -> None:
        """`bases` are the reels that a fork shares, oldest first.

        Raises DataLoss where they do not fit, Unavailable without memory for the index.
        """
        self._outline = Outline(found.records[0])
        self.key = self._outline.created.key
        self.spec = self._outline.created.spec
        self.frames = Frames(self.key)
        self._reel = reel
        self._bases = bases
        self._index = index
        share(self.frames, bases, self._outline.epoch)
        for record in found.records[1:]:
            self._take(record)
        for block in self.frames.blocks:
            self._add_rows(self.frames.embeddings(range(block.span.start, block.span.stop)))

    def check_size(self) -> None:
        """Raises DataLoss where a file that holds some of it has been cut."""
        self._reel.check_size()
        for base in self._bases:
            base.check_size()

    @property
    def epoch(self) -> int:
        return self._outline.epoch

    @property
    def sealed(self) -> bool:
        return self._outline.sealed

    @property
    def state(self) -> VideoState:
        """Where the video stands."""
        return self._outline.state(self._reel.durable)

    @property
    def info(self) -> VideoInfo:
        """The video as it is."""
        return self._outline.info(self._reel.durable, self._reel.end)

    @property
    def shared_bytes(self) -> int:
        """Bytes of the bases."""
        return sum(base.base.end for base in self._bases)

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes while it is open: its rows in the index and its tables."""
        return self._index.num_bytes(self.key) + self.frames.table_bytes

    def check_epoch(self, epoch: int | None) -> None:
        """Raises Fenced where a writer names an epoch that is over."""
        if epoch is not None and epoch != self.epoch:
            raise Fenced(f"epoch {epoch} is over", field="epoch", expected=str(self.epoch))

    def append(self, block: Block, packed: PackedBlock, epoch: int | None) -> tuple[bool, int]:
        """Append a block unless it is there already; True for such a duplicate.

        Also how far the reel must be durable for the block to be. Raises Fenced, AlreadyExists, Sealed,
        OutOfOrder, DataLoss, Exhausted, Unavailable.
        """
        self.check_epoch(epoch)
        length = self.frames.length
        if block.start < length:
            check_duplicate(self.frames, block, packed)
            last = self.frames.block(block.span.stop - 1)
            return True, last.stored.end if last.reel is self._reel else 0
        self._check_unsealed()
        if block.start > length:
            raise OutOfOrder(
                f"the block starts at frame {block.start}, past the end of the video",
                field="block.start",
                expected=str(length),
                details={"expected_start": str(length)},
            )
        try:
            self._add_rows(block.embeddings)
            record = self._reel.append(Kind.BLOCK, *packed)
        except BaseException:
            self._index.truncate(self.key, length)
            raise
        self._take(record)
        return False, record.end

    def truncate(self, length: int, epoch: int | None) -> bool:
        """Forget the frames from `length` on and begin an epoch; True where a retry finds that done.

        Raises Fenced, Sealed, InvalidArgument, Exhausted, Unavailable.
        """
        if epoch is not None and (epoch, length) == (self._outline.ended_epoch, self.frames.length):
            return True
        self.check_epoch(epoch)
        self._check_unsealed()
        if length > self.frames.length:
            raise InvalidArgument(
                f"the video has {self.frames.length} frames, not {length}",
                field="length",
                expected=f"0 to {self.frames.length}",
            )
        self._take(self._reel.append(Kind.TRUNCATE, pack_truncation(new_epoch(), length)))
        self._index.truncate(self.key, length)
        return False

    def seal(self, epoch: int | None) -> bool:
        """Take no more frames; True where that is so already. Raises Fenced, Exhausted, Unavailable."""
        self.check_epoch(epoch)
        if self.sealed:
            return True
        self._take(self._reel.append(Kind.SEAL, {}))
        return False

    def branch(self, length: int | None, epoch: int | None) -> tuple[Branch, int]:
        """Where a fork of the first `length` frames, or of all, leaves, and how far the reel must be durable.

        Raises Fenced, InvalidArgument.
        """
        self.check_epoch(epoch)
        length = self.frames.length if length is None else length
        last = self.frames.block_before(length)
        branch = branch_of(self._outline, length, last, self._bases, self._reel)
        return branch, last.upto if last is not None and last.ends_in is self._reel else 0

    def _add_rows(self, rows: Embeddings) -> None:
        """Add float32 [n, D] to the index. Raises Unavailable, and may have added some of them then."""
        try:
            self._index.add(self.key, rows)
        except (OSError, MemoryError) as exc:
            raise Unavailable(
                f"the index of video {self.key} cannot grow: {exc}", expected="free memory on the server"
            ) from exc

    def _check_unsealed(self) -> None:
        if self.sealed:
            raise Sealed(
                f"video {self.key} is sealed", field="key", expected="a video that is not, or a fork of it"
            )

    def _take(self, record: Record) -> None:
        """Take in the next record of the reel."""
        self._outline.take(record)
        if record.prefix.kind == Kind.BLOCK:
            self.frames.add(unpack_block(record), self._reel, self.epoch)
        elif record.prefix.kind == Kind.TRUNCATE:
            self.frames.truncate(self._outline.length, self._reel, record.end)
