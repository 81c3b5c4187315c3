"""What all RPCs share: the memory they serve and the room that their answers have."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeAlias

from memory_service.histories.stored_frame import StoredFrame
from memory_service.limits import Limits
from memory_service.local.sessions import LocalSessions
from memory_service.memory import Memory
from memory_service.types import Appended, Block, Handle, Hit, Query, VideoKey
from memory_service.v1 import memory_pb2 as pb

RESERVED_BYTES = 4096
"""Room that a message keeps for its small fields when frames or rows fill the rest."""


InEpoch: TypeAlias = (
    pb.AppendRequest
    | pb.AppendStreamRequest
    | pb.AdvanceRequest
    | pb.TruncateVideoRequest
    | pb.SealVideoRequest
)
"""Requests that may name the epoch that they mean."""


def epoch_of(request: InEpoch) -> int | None:
    """The epoch that a request means; None where it takes the one that is."""
    return request.epoch if request.HasField("epoch") else None


class StoredMemory(Memory, Protocol):
    """A memory of this process, which can hand out frames as they lie in their reels."""

    def fetch_stored(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> Sequence[StoredFrame]:
        """As `fetch`, the frames not yet verified."""

    def advance_stored(
        self,
        key: VideoKey,
        block: Block,
        query: Query,
        *,
        known: Collection[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> tuple[Appended, tuple[Hit, ...], Sequence[StoredFrame]]:
        """As `advance`, the frames not yet verified."""


class Rpcs:
    """RPCs over `memory`, which enforces `limits`.

    Where a request repeats a message, only one more than allowed is unwired: enough for the memory to refuse
    them all, and a request for a million frames costs no million objects.
    """

    def __init__(self, memory: StoredMemory, limits: Limits, local: LocalSessions | None = None) -> None:
        """`local` has the sessions of the local path, None where it is not offered."""
        self._memory = memory
        self._local = local
        self._limits = limits
        self._budget_bytes = limits.max_message_bytes - RESERVED_BYTES
