"""Where the frames of one video lie in its reel, and reading them back verified."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss, NotFound
from memory_service.records import PackedBlock, StoredBlock
from memory_service.reel import Extent
from memory_service.store.reel_file import ReelFile
from memory_service.types import Block, Buffer, Embeddings, Frame, Handle, VideoKey


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes in the mapped reel and the CRC-32C that they must have."""

    data: memoryview
    crc: int

    def verified(self, what: str, field: str) -> memoryview:
        """The bytes. Raises DataLoss, naming `what`, when they are not what was appended."""
        if crc32c(self.data) != self.crc:
            raise DataLoss(f"{what} fails its checksum", field=field, expected=f"CRC-32C {self.crc:#010x}")
        return self.data


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame as it lies in the reel, not yet verified; stays readable whatever becomes of the video."""

    handle: Handle
    embedding: Payload
    parts: Mapping[str, Payload]

    def verified(self, field: str) -> Frame:
        """The frame, its payloads as read-only views. Raises DataLoss, naming the request's `field`."""
        name = f"of frame {self.handle.frame} of {self.handle.key.pool}/{self.handle.key.video}"
        embedding = np.frombuffer(self.embedding.verified(f"the embedding {name}", field), np.float32)
        parts: dict[str, Buffer] = {
            part: payload.verified(f"part {part!r} {name}", field) for part, payload in self.parts.items()
        }
        return Frame(self.handle, embedding, parts)


class Frames:
    """The table of frames of one reel. Reads are safe beside `add`, which its caller serialises."""

    def __init__(self, key: VideoKey, epoch: int, reel: ReelFile) -> None:
        self._key = key
        self._epoch = epoch
        self._reel = reel
        self._blocks: list[StoredBlock] = []
        self._stops: list[int] = []
        self._ends: list[int] = []
        self._rows: list[int] = []
        self._row_bytes = 0

    @property
    def length(self) -> int:
        return self._stops[-1] if self._stops else 0

    @property
    def durable(self) -> int:
        """Number of frames that survive a loss of power."""
        blocks = bisect_right(self._ends, self._reel.durable)
        return self._stops[blocks - 1] if blocks else 0

    def add(self, block: StoredBlock) -> None:
        """Add the block that follows the last one."""
        self._row_bytes = block.embedding_bytes
        self._rows += (block.embedding(frame)[0] for frame in range(block.span.start, block.span.stop))
        self._blocks.append(block)
        self._ends.append(block.end)
        self._stops.append(block.span.stop)

    def handle(self, frame: int) -> Handle:
        """The handle of a kept frame."""
        return Handle(self._key, self._epoch, frame)

    def check_kept(self, frame: int, field: str) -> None:
        """Raises NotFound, naming the request's `field`, unless the frame is kept."""
        if frame >= self.length:
            raise NotFound(f"frame {frame} is not kept", field=field, expected=f"less than {self.length}")

    def end_of(self, frame: int) -> int:
        """Byte offset in the reel behind the block that holds `frame`."""
        return self._block(frame).end

    def embeddings(self, frames: Sequence[int]) -> Embeddings:
        """Stored embeddings float32 [m, D] of m >= 1 frames, copied by one gather over the mapped reel."""
        starts = [self._rows[frame] for frame in frames]
        values = np.frombuffer(self._reel.view(0, max(starts) + self._row_bytes), np.float32)
        dim = self._row_bytes // values.itemsize
        windows = as_strided(values, (len(values) - dim + 1, dim), values.strides * 2, writeable=False)
        rows: Embeddings = windows[np.array(starts) // values.itemsize]
        return rows

    def stored(self, handle: Handle, parts: Sequence[str]) -> StoredFrame:
        """The frame of a live handle with the named parts, or all when none is named. Raises NotFound."""
        block = self._block(handle.frame)
        for part in parts:
            if part not in block.parts:
                raise NotFound(
                    f"frame {handle.frame} has no part {part!r}",
                    field="parts",
                    expected=f"one of {', '.join(block.parts)}",
                )
        embedding = self._payload(block.embedding(handle.frame))
        names = parts or block.parts
        return StoredFrame(
            handle, embedding, {name: self._payload(block.payload(name, handle.frame)) for name in names}
        )

    def first_difference(self, block: Block, packed: PackedBlock) -> int | None:
        """The first frame of `block` that was kept with other bytes or parts; all of them must be kept.

        `packed` is the same block. Raises DataLoss where what was kept is damaged: neither the block that was
        kept nor one that looks like the damage may pass for a difference or a duplicate.
        """
        sent_crcs: Sequence[int] = packed[0]["embedding_crcs"]
        sent_parts: Mapping[str, Sequence[Extent]] = packed[0]["parts"]
        for row, frame in enumerate(range(block.span.start, block.span.stop)):
            stored = self._block(frame)
            if stored.parts.keys() != block.parts.keys():
                return frame
            kept: list[tuple[Extent, Buffer, int]] = [
                (stored.payload(name, frame), payloads[row], sent_parts[name][row][2])
                for name, payloads in block.parts.items()
            ]
            kept.append((stored.embedding(frame), block.embeddings[row].tobytes(), sent_crcs[row]))
            if not all(self._is_kept(*one, f"frame {frame}") for one in kept):
                return frame
        return None

    def _is_kept(self, extent: Extent, sent: Buffer, sent_crc: int, what: str) -> bool:
        """Whether `sent` is what was appended there; the checksums know better than the bytes."""
        _, length, crc = extent
        if (length, crc) != (memoryview(sent).nbytes, sent_crc):
            return False
        payload = self._payload(extent)
        return _equal(payload.data, sent) or _equal(payload.verified(what, "block"), sent)

    def _block(self, frame: int) -> StoredBlock:
        return self._blocks[bisect_right(self._stops, frame)]

    def _payload(self, extent: Extent) -> Payload:
        offset, length, crc = extent
        return Payload(self._reel.view(offset, length), crc)


def _equal(stored: memoryview, sent: Buffer) -> bool:
    """Whether the bytes are equal; numpy compares them many times faster than memoryviews do."""
    data = memoryview(sent).cast("B")
    return len(stored) == len(data) and np.array_equal(
        np.frombuffer(stored, np.uint8), np.frombuffer(data, np.uint8)
    )
