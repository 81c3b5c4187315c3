"""One frame as it lies in a reel, and reading it verified."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss
from memory_service.types import Buffer, Embeddings, Frame, Handle


class Pages(Protocol):
    """The bytes of a reel, mapped."""

    path: Path
    inode: int

    def check_size(self) -> None:
        """Raises DataLoss where the file has been cut, Unavailable where that cannot be told."""

    def view(self, offset: int, length: int) -> memoryview:
        """Read-only bytes that stay readable while referenced."""


class Payload(NamedTuple):
    """Bytes in the mapped reel, from `offset` on, and the CRC-32C that they must have."""

    reel: Pages
    offset: int
    data: memoryview
    crc: int

    def verified(self, what: str, field: str) -> memoryview:
        """The bytes. Raises DataLoss, naming `what`, when they are not what was appended."""
        if crc32c(self.data) != self.crc:
            raise DataLoss(f"{what} fails its checksum", field=field, expected=f"CRC-32C {self.crc:#010x}")
        return self.data

    def embedding(self, what: str, field: str) -> Embeddings:
        """The bytes as float32 [D]. Raises DataLoss, as `verified` does."""
        return np.frombuffer(self.verified(what, field), np.float32)


class StoredFrame(NamedTuple):
    """One frame, not yet verified; stays readable whatever becomes of the video."""

    handle: Handle
    embedding: Payload
    parts: Mapping[str, Payload]
    named: Mapping[str, Payload]
    metadata: Mapping[str, str]
    unix_ms: int

    def verified(self, field: str) -> Frame:
        """The frame, its payloads as read-only views. Raises as `verified_vectors` does."""
        embedding, named = self.verified_vectors(field)
        parts: dict[str, Buffer] = {
            part: payload.verified(f"part {part!r} {self._name}", field)
            for part, payload in self.parts.items()
        }
        return Frame(self.handle, embedding, parts, named, self.metadata, self.unix_ms)

    def verified_vectors(self, field: str) -> tuple[Embeddings, Mapping[str, Embeddings]]:
        """The embedding float32 [D] and the named ones.

        Raises DataLoss, naming the request's `field` where a checksum fails, and the file where it was cut
        since the frame was found, which may be minutes ago; Unavailable where its size cannot be told.
        """
        self.embedding.reel.check_size()
        embedding = self.embedding.embedding(f"the embedding {self._name}", field)
        return embedding, {
            kind: payload.embedding(f"the {kind!r} embedding {self._name}", field)
            for kind, payload in self.named.items()
        }

    @property
    def _name(self) -> str:
        return f"of frame {self.handle.frame} of {self.handle.key}"
