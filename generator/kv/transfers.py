"""Copies between host and device beside the computation: two streams of their own, one for each way.

The host never waits. Order is kept by events alone: a copy waits for what wrote its source and for who still
uses its target; the computation waits for the copies that it needs. On a CPU all of it is a plain copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Kept:
    """A slab of the host tier, and the copies that may still be under way."""

    slab: Tensor
    written: torch.cuda.Event | None = None
    read: torch.cuda.Event | None = None
    """The last one, after all reads before it."""

    approximate: bool = False
    """Whether what it holds was re-created."""

    def settled(self) -> Tensor:
        """The slab, once nothing writes to it any more: the only place that waits."""
        if self.written is not None:
            self.written.synchronize()
        return self.slab


class Transfers:
    """The copies of one rollout."""

    def __init__(self, device: torch.device) -> None:
        """To be made in the thread that computes, on the stream that it uses."""
        cuda = device.type == "cuda"
        self._in = torch.cuda.Stream(device) if cuda else None
        self._out = torch.cuda.Stream(device) if cuda else None
        self._compute = torch.cuda.current_stream(device) if cuda else None
        self._loaded: torch.cuda.Event | None = None
        self._copied: list[torch.cuda.Event] = []

    def to_host(self, slab: Tensor, kept: Kept) -> None:
        """Copy a slab that the computation so far has written."""
        if self._out is None or self._compute is None:
            kept.slab.copy_(slab)
            return
        self._out.wait_stream(self._compute)
        for event in (kept.read, kept.written):  # of another rollout's streams, perhaps
            if event is not None:
                self._out.wait_event(event)
        with torch.cuda.stream(self._out):
            kept.slab.copy_(slab, non_blocking=True)
        kept.written = self._out.record_event()
        slab.record_stream(self._out)

    def to_device(self, kept: Kept, slab: Tensor, *, ahead: bool) -> None:
        """Copy into a slab that is not in use.

        ahead: the computation has not used it since `loaded`, so that the copy need not wait for the passes
        which are queued since.
        """
        if self._in is None or self._out is None or self._compute is None:
            slab.copy_(kept.slab)
            return
        if ahead and self._loaded is not None:
            self._in.wait_event(self._loaded)
        else:
            self._in.wait_stream(self._compute)
        self._in.wait_stream(self._out)
        # The reads of other rollouts too, so that the last one stands for all.
        for event in (kept.written, kept.read):
            if event is not None:
                self._in.wait_event(event)
        with torch.cuda.stream(self._in):
            slab.copy_(kept.slab, non_blocking=True)
        kept.read = self._in.record_event()
        slab.record_stream(self._in)

    def arrive(self) -> None:
        """The computation waits for everything that was copied to the device."""
        if self._in is not None and self._compute is not None:
            self._compute.wait_stream(self._in)

    def loading(self) -> None:
        """Slots are being filled: until `loaded`, the computation uses slabs at any time."""
        self._loaded = None

    def loaded(self) -> None:
        """A block's context is in its slots: until the next is loaded, no pass uses another slab than the
        window's."""
        if self._in is None or self._out is None or self._compute is None:
            return
        self._loaded = self._compute.record_event()
        self._copied = [self._in.record_event(), self._out.record_event()]

    def before_writing(self) -> None:
        """The computation waits for the copies that were queued when the block was loaded: they may use slabs
        which the window has taken over since."""
        for event in self._copied:
            assert self._compute is not None
            self._compute.wait_event(event)
