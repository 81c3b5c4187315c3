"""What a block has of the memory, as the block itself says in its metadata.

The memory's log of retrievals is for looking: a full disk may leave an entry out, a fork has those of its own
searches only. A block that is kept with what it attended can be replayed by whoever has the block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from memory_service.types import Handle, Hit, VideoKey

RETRIEVED, DEGRADED = "retrieved", "degraded"
"""Keys of a block's metadata."""

MAX_REASON = 200
"""Most characters of a reason."""


@dataclass(frozen=True)
class Recalled:
    """Hits for one block, best first, or why there are none."""

    hits: tuple[Hit, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """That each verb took in the background."""

    degraded: str = ""
    """Why the memory could not be asked; the block then attends the frames of the window alone."""

    def metadata(self, key: VideoKey) -> dict[str, str]:
        """For a block of video `key` that attended this; its own frames are named by number alone."""
        found = {}
        if self.hits:
            found[RETRIEVED] = json.dumps([_named(hit, key) for hit in self.hits], separators=(",", ":"))
        if self.degraded:
            found[DEGRADED] = self.degraded[:MAX_REASON]
        return found

    @staticmethod
    def of(metadata: Mapping[str, str], handle: Callable[[int], Handle]) -> Recalled:
        """The inverse of `metadata`; `handle` gives those of the video's own frames."""
        named = json.loads(metadata.get(RETRIEVED, "[]"))
        return Recalled(
            tuple(_hit(*fields, handle=handle) for fields in named), degraded=metadata.get(DEGRADED, "")
        )


def _named(hit: Hit, key: VideoKey) -> list[int | float | str]:
    other = hit.handle.key
    own: list[int | float | str] = [hit.handle.frame, hit.score]
    return own if other == key else [*own, other.pool, other.video, hit.handle.epoch]


def _hit(
    frame: int,
    score: float,
    pool: str = "",
    video: str = "",
    epoch: int = 0,
    *,
    handle: Callable[[int], Handle],
) -> Hit:
    return Hit(Handle(VideoKey(pool, video), epoch, frame) if video else handle(frame), score)
