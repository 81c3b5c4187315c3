"""Frames beyond the window: found in the first tier that has them, or made anew.

A frame is in the device tier or in a slot, never in both; what a slot holds can be parked there rotated, and
is copied back as it is. Which tier a frame comes from changes no bit of it, but for re-creation.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from generator.errors import MissingKVError
from generator.kv.device_tier import DeviceTier, Parked
from generator.kv.host_tier import HostTier
from generator.kv.traffic import Traffic
from generator.kv.transfers import Transfers
from generator.wan.kv_shape import KEY, VALUE, KVShape
from memory_service.types import Handle


class Recreates(Protocol):
    """The last tier."""

    def fetch(self, handles: Sequence[Handle]) -> None:
        """Get from the memory what re-creating these frames takes; beside the passes, in any thread."""

    def recreate(self, handles: Sequence[Handle]) -> Mapping[Handle, Tensor]:
        """New un-rotated slabs. Raises MissingKVError where the memory has no latent of a frame."""

    def taken(self) -> Traffic:
        """What was re-created since the last call: its time, and frames that had to do without context."""


class KVTiers:
    """The tiers of one rollout. Prefetching happens in another thread than everything else."""

    def __init__(
        self,
        shape: KVShape,
        host: HostTier | None,
        *,
        device_frames: int = 0,
        recreation: Recreates | None = None,
    ) -> None:
        """host: None where nothing is moved to the host. device_frames: most frames of the device tier."""
        self._shape = shape
        self._host = host
        self._device = DeviceTier(device_frames)
        self._recreation = recreation
        self._recreated: dict[Handle, Tensor] = {}
        self._approximate: set[Handle] = set()  # whatever tier or slot they are in by now
        self._transfers = Transfers(shape.device)
        self._traffic = Traffic()
        self._lock = threading.RLock()

    def evict(self, handle: Handle, slab: Tensor) -> Tensor | None:
        """Keep a frame that leaves the window, and its slab. A slab in exchange, if there is one.

        Raises KVBudgetError.
        """
        with self._lock:
            self._approximate.discard(handle)
            if self._host is not None and self._host.put(handle, slab, self._transfers):
                self._traffic.to_host_bytes += slab.nbytes
            if not self._device.make_room():
                return slab
            self._device.put(handle, Parked(slab))
            return self._device.spare()

    @torch.inference_mode()
    def prefetch(self, handles: Sequence[Handle]) -> None:
        """Begin to bring frames of the next block, while this one is still made. Raises ServiceError."""
        absent = []
        with self._lock:
            self._device.want(handles)
            for handle in handles:
                if handle in self._device or self._move_ahead(handle):
                    continue
                if self._host is None or handle not in self._host:
                    absent.append(handle)
        if absent and self._recreation is not None:
            self._recreation.fetch(absent)

    def prepare(self, handles: Sequence[Handle]) -> None:
        """Re-create, in as few passes as possible, those frames of a block that no tier has.

        Raises MissingKVError.
        """
        with self._lock:
            self._transfers.loading()
            self._device.want(handles)
            if self._host is not None:
                self._host.want([handle for handle in handles if handle not in self._device])
            absent = [handle for handle in handles if handle not in self]
            if absent:
                self._recreated = self._made_anew(absent)

    def take(self, handle: Handle, position: int) -> Parked:
        """A frame for a slot, at this position or un-rotated; `give` gives it back.

        Raises MissingKVError.
        """
        with self._lock:
            parked = self._device.take(handle)
            if parked is not None and parked.position not in (None, position):
                self._device.give(parked.slab)
                parked = None
            if parked is None:
                made = handle in self._recreated
                parked = None if made else self._from_host(handle)
                parked = parked or self._anew(handle)
            if parked.origin == "host":
                self._transfers.arrive()
            self._count(handle, parked)
            return parked

    def stays(self, handle: Handle) -> None:
        """Count a retrieved frame that is in its slot already."""
        with self._lock:
            self._traffic.in_slots += 1
            self._traffic.approximate += handle in self._approximate

    def give(self, parked: Parked) -> None:
        """Give back the slab of a frame that is in its slot now."""
        # One that was re-created may still be on its way to the host: it is not used again.
        if parked.origin != "recreated":
            with self._lock:
                self._device.give(parked.slab)

    def park(self, handle: Handle, position: int, keys: Tensor, values: Tensor) -> None:
        """Copy a frame that leaves its slot, keys [layers, F, heads, D] rotated to `position`."""
        with self._lock:
            if handle in self._device or not self._device.make_room():
                return
            slab = self._spare()
            self._transfers.arrive()  # a frame that was moved ahead in vain may still fill this slab
            slab[:, KEY].copy_(keys)
            slab[:, VALUE].copy_(values)
            self._device.put(handle, Parked(slab, position))

    def loaded(self) -> None:
        """A block's context is in its slots: frames of the next may be moved beside the passes."""
        self._recreated = {}
        with self._lock:
            self._transfers.loaded()

    def before_writing(self) -> None:
        """The clean pass is next: it may write to slabs that the tiers had."""
        self._transfers.before_writing()

    def taken(self) -> Traffic:
        """What happened since the last call."""
        with self._lock:
            traffic, self._traffic = self._traffic, Traffic()
        return traffic if self._recreation is None else Traffic.total([traffic, self._recreation.taken()])

    def held(self) -> list[Handle]:
        """All frames of all tiers, those of other rollouts on the host too; some may come twice."""
        with self._lock:
            return [*self._device.held(), *(() if self._host is None else self._host.held())]

    def __contains__(self, handle: object) -> bool:
        return handle in self._device or (self._host is not None and handle in self._host)

    def _move_ahead(self, handle: Handle) -> bool:
        """Nothing is allocated here: memory may be free in the order of one stream only."""
        if self._host is None or handle not in self._host or not self._device.make_room():
            return False
        slab = self._device.spare()
        if slab is None:
            return False
        if not self._read(handle, slab, ahead=True):
            return False
        self._device.put(handle, Parked(slab, origin="host"))
        self._traffic.ahead += 1
        return True

    def _from_host(self, handle: Handle) -> Parked | None:
        if self._host is None or handle not in self._host:
            return None
        slab = self._spare()
        return Parked(slab, origin="host") if self._read(handle, slab) else None

    def _read(self, handle: Handle, slab: Tensor, *, ahead: bool = False) -> bool:
        """Begin to copy a frame from the host; False, and the slab is given back, where it has none."""
        assert self._host is not None
        kept = self._host.read(handle, slab, self._transfers, ahead=ahead)
        if kept is None:
            self._device.give(slab)
            return False
        self._note(handle, approximate=kept.approximate)
        self._traffic.to_device_bytes += slab.nbytes
        return True

    def _anew(self, handle: Handle) -> Parked:
        slab = self._recreated.pop(handle, None)
        if slab is None:
            slab = self._made_anew([handle])[handle]
        return Parked(slab, origin="recreated")

    def _made_anew(self, handles: Sequence[Handle]) -> dict[Handle, Tensor]:
        if self._recreation is None:
            raise MissingKVError(handles)
        made = dict(self._recreation.recreate(handles))
        for handle, slab in made.items():
            self._note(handle, approximate=True)
            if self._host is not None and self._host.put(handle, slab, self._transfers, approximate=True):
                self._traffic.to_host_bytes += slab.nbytes
        return made

    def _spare(self) -> Tensor:
        spare = self._device.spare()
        return self._shape.new_slab() if spare is None else spare

    def _note(self, handle: Handle, *, approximate: bool) -> None:
        (self._approximate.add if approximate else self._approximate.discard)(handle)

    def _count(self, handle: Handle, parked: Parked) -> None:
        counted = {"device": "from_device", "host": "from_host", "recreated": "recreated"}[parked.origin]
        self._traffic = replace(self._traffic, **{counted: getattr(self._traffic, counted) + 1})
        self._traffic.approximate += handle in self._approximate
