"""What all RPCs share: the memory they serve and the room that their answers have."""

from memory_service.limits import Limits
from memory_service.memory import Memory

RESERVED_BYTES = 4096
"""Room that a message keeps for its small fields when frames or rows fill the rest."""


class Rpcs:
    """RPCs over `memory`, which enforces `limits`.

    Where a request repeats a message, only one more than allowed is unwired: enough for the memory to refuse
    them all, and a request for a million frames costs no million objects.
    """

    def __init__(self, memory: Memory, limits: Limits) -> None:
        self._memory = memory
        self._limits = limits
        self._budget_bytes = limits.max_message_bytes - RESERVED_BYTES
