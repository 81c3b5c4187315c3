"""The second tier: slabs of evicted frames in host memory, by handle, under a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor

from generator.errors import KVBudgetError, MissingKVError
from generator.kv.arena import Arenas, bytes_for
from generator.kv.transfers import Kept, Transfers
from memory_service.types import Handle


class HostTier:
    """Copies of un-rotated slabs; pinned where the device is a GPU.

    Rollouts of one process whose frames have the same shape may share a tier, and then attend each other's
    frames. Safe for several threads.
    """

    def __init__(self, budget_bytes: int | None = None, *, forgets: bool = False) -> None:
        """budget_bytes: of all arenas, None for no limit.

        forgets: over budget the slab that was used least recently makes room; else that is an error.
        """
        self.budget_bytes = budget_bytes
        self._forgets = forgets
        self._arenas = Arenas(budget_bytes)
        self._kept: OrderedDict[Handle, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def put(
        self,
        handle: Handle,
        slab: Tensor,
        transfers: Transfers | None = None,
        *,
        approximate: bool = False,
    ) -> bool:
        """Keep a copy of a slab; whether there was room for it at all. approximate: it was re-created.

        The caller may overwrite its own once `transfers` says so, at once without. Raises KVBudgetError where
        nothing may be forgotten.
        """
        with self._lock:
            kept = self._kept.pop(handle, None) or self._room(slab)
            if kept is None:
                return False
            (transfers or Transfers(kept.slab.device)).to_host(slab, kept)
            kept.approximate = approximate
            self._kept[handle] = kept
            return True

    def read(self, handle: Handle, slab: Tensor, transfers: Transfers, *, ahead: bool = False) -> Kept | None:
        """Begin to copy what is kept of a frame, which is returned, into a slab of the device."""
        with self._lock:
            kept = self._kept.get(handle)
            if kept is not None:
                self._kept.move_to_end(handle)
                transfers.to_device(kept, slab, ahead=ahead)
            return kept

    def want(self, handles: Iterable[Handle]) -> None:
        """Frames that are about to be read: others make room first."""
        with self._lock:
            for handle in handles:
                if handle in self._kept:
                    self._kept.move_to_end(handle)

    def get(self, handle: Handle) -> Tensor:
        """The slab itself, in host memory. Raises MissingKVError."""
        with self._lock:
            if handle not in self._kept:
                raise MissingKVError([handle])
            return self._kept[handle].settled()

    @property
    def bytes(self) -> int:
        """Of the slabs that are kept."""
        with self._lock:
            return sum(kept.slab.nbytes for kept in self._kept.values())

    @property
    def reserved_bytes(self) -> int:
        """Of host memory taken, never above the budget."""
        return self._arenas.reserved_bytes

    def held(self) -> list[Handle]:
        with self._lock:
            return list(self._kept)

    def __contains__(self, handle: object) -> bool:
        with self._lock:
            return handle in self._kept

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def _room(self, like: Tensor) -> Kept | None:
        slab = self._arenas.take(like)
        if slab is not None:
            return Kept(slab)
        if not self._forgets:
            assert self.budget_bytes is not None
            raise KVBudgetError(bytes_for(len(self._kept) + 1, like.nbytes), self.budget_bytes)
        return self._kept.popitem(last=False)[1] if self._kept else None
