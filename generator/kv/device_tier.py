"""The first tier beyond the window: slabs of frames that are not attended now and stay on the device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from memory_service.types import Handle

Origin = Literal["device", "host", "recreated"]


@dataclass(frozen=True)
class Parked:
    """A frame's slab on the device."""

    slab: Tensor
    position: int | None = None
    """The temporal position that its keys are rotated to; None: un-rotated."""

    origin: Origin = "device"
    """Where it was found for the block that will attend it."""


class DeviceTier:
    """At most `frames` slabs by handle; the least recently attended or evicted leaves first."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._parked: OrderedDict[Handle, Parked] = OrderedDict()
        self._free: list[Tensor] = []
        self._wanted: frozenset[Handle] = frozenset()

    def want(self, handles: Collection[Handle]) -> None:
        """Frames of the coming block: none of them makes room for another."""
        self._wanted = frozenset(handles)

    def put(self, handle: Handle, parked: Parked) -> None:
        """Only after `make_room`."""
        assert len(self._parked) < self.frames
        self._parked[handle] = parked

    def take(self, handle: Handle) -> Parked | None:
        """Remove a frame; its slab is the caller's until he gives it back."""
        return self._parked.pop(handle, None)

    def make_room(self) -> bool:
        """Let one frame go if the tier is full; False where every frame is wanted, or none may be kept."""
        if len(self._parked) < self.frames:
            return True
        least = next((handle for handle in self._parked if handle not in self._wanted), None)
        if least is None:
            return False
        self._free.append(self._parked.pop(least).slab)
        return True

    def spare(self) -> Tensor | None:
        """A slab that nobody uses."""
        return self._free.pop() if self._free else None

    def give(self, slab: Tensor) -> None:
        """Take a slab back; one more than the frames is kept, for what passes through."""
        if len(self._free) + len(self._parked) <= self.frames:
            self._free.append(slab)

    def held(self) -> list[Handle]:
        return list(self._parked)

    def __contains__(self, handle: object) -> bool:
        return handle in self._parked

    def __len__(self) -> int:
        return len(self._parked)
