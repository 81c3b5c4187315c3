"""What carries advances of one video, one at a time, until it breaks."""

from abc import ABC, abstractmethod
from math import inf

from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.frame_messages import AdvanceAnswer


class Stream(ABC):
    """One stream of advances. `busy` and `until` are its owner's."""

    def __init__(self) -> None:
        self.answered = False
        """Whether it has ever given an answer."""
        self.busy = False
        self.until = inf

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can be asked."""

    @abstractmethod
    def ask(self, request: pb.AdvanceRequest) -> AdvanceAnswer | None:
        """The answer to a request; None where the stream ends instead: then nothing is known about it."""

    @abstractmethod
    def end(self) -> None:
        """Hang up, from any thread; idempotent."""
