"""Where the frames of one block lie in their reel: the table of a history is made of these.

n frames of a block. A long history has many thousands of blocks in memory: what blocks have in common is in
one `Layout`, and what differs in one array, for an object per number would take ten times as much.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from types import MappingProxyType
from typing import NamedTuple

from memory_service.reel import Extent
from memory_service.types import Span

NO_TEXTS: Mapping[str, str] = MappingProxyType({})
"""The metadata of most blocks: one for all."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The embeddings of one kind: row after row from `offset` of the body, their CRCs from `crcs` on."""

    offset: int
    row_bytes: int
    crcs: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What `numbers` of a block mean, by place: embeddings, named ones, and where each part begins.

    A frame's payload of a part is three numbers: offset in the body, length and CRC.
    """

    embeddings: Rows
    named: Mapping[str, Rows]
    parts: Mapping[str, int]
    num_numbers: int


def layout_of(n: int, dim: int, named: tuple[tuple[str, int, int], ...], parts: tuple[str, ...]) -> Layout:
    """The layout of n frames: one for all blocks that are alike. `named` has names, offsets and dimensions.

    Raises TypeError: 3.0 equals 3, and must not take its place.
    """
    if not type(n) is type(dim) is int or (named and {type(a) for _, *pair in named for a in pair} != {int}):
        raise TypeError("a layout is of whole numbers")
    return _layout(n, dim, named, parts)


@lru_cache(maxsize=256)
def _layout(n: int, dim: int, named: tuple[tuple[str, int, int], ...], parts: tuple[str, ...]) -> Layout:
    rows = {
        intern(name): Rows(offset, 4 * dim_named, n * number)
        for number, (name, offset, dim_named) in enumerate(named, 1)
    }
    first = n * (1 + len(named))
    places = {intern(name): first + 3 * n * number for number, name in enumerate(parts)}
    return Layout(Rows(0, 4 * dim, 0), rows, places, first + 3 * n * len(parts))


class StoredBlock(NamedTuple):
    """Frames [start, stop) of one block in their reel, and what holds for all of them.

    Its record has its body at `body` and ends at `end`, counted from the reel's start: the block is durable
    once the reel is up to there. `numbers` are int64, as `layout` reads them.
    """

    start: int
    stop: int
    body: int
    end: int
    layout: Layout
    numbers: array[int]
    metadata: Mapping[str, str]
    unix_ms: int

    @property
    def span(self) -> Span:
        return Span(self.start, self.stop)

    @property
    def named(self) -> Set[str]:
        """Names of the named embeddings."""
        return self.layout.named.keys()

    @property
    def parts(self) -> Set[str]:
        """Names of the parts, in the block's order."""
        return self.layout.parts.keys()

    def embedding(self, frame: int, name: str = "") -> Extent:
        """The extent of a frame's embedding, or of its named one. Raises KeyError for a name without any."""
        rows = self.layout.named[name] if name else self.layout.embeddings
        row = frame - self.start
        return self.body + rows.offset + row * rows.row_bytes, rows.row_bytes, self.numbers[rows.crcs + row]

    def payload(self, part: str, frame: int) -> Extent:
        """The extent of one part of a frame. Raises KeyError for a part that the block lacks."""
        first = self.layout.parts[part] + 3 * (frame - self.start)
        numbers = self.numbers
        return self.body + numbers[first], numbers[first + 1], numbers[first + 2]
