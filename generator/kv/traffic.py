"""What the tiers did for one block, or for several: where frames were found and what was moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(kw_only=True)
class Traffic:
    """Counts over retrieved frames; a frame of a block is found in exactly one place.

    What is moved ahead for the next block counts for the block meanwhile.
    """

    in_slots: int = 0
    """Attended by the block before at the same position: nothing to do."""
    from_device: int = 0
    from_host: int = 0
    recreated: int = 0
    """Made anew from the latent, in no tier."""
    recreated_alone: int = 0
    """Those of `recreated` whose block or sink the memory does not have, whatever the layout."""
    approximate: int = 0
    """Of all, those that were re-created, for this block or for one before, and kept in any place since."""
    ahead: int = 0
    """Those of `from_host` whose copy began while the block before was still made."""

    to_device_bytes: int = 0
    to_host_bytes: int = 0
    recreation_ms: float = 0.0

    @property
    def retrieved(self) -> int:
        return self.in_slots + self.from_device + self.from_host + self.recreated

    @staticmethod
    def total(parts: Iterable[Traffic]) -> Traffic:
        total = Traffic()
        for part in parts:
            for field in fields(Traffic):
                setattr(total, field.name, getattr(total, field.name) + getattr(part, field.name))
        return total

    def words(self) -> str:
        """One line for people."""
        places = {
            "in place": self.in_slots,
            "on the device": self.from_device,
            "on the host": self.from_host,
            "re-created": self.recreated,
        }
        found = ", ".join(f"{count} {place}" for place, count in places.items())
        moved = f"{self.to_device_bytes / 1e9:.3g} GB to the device, {self.to_host_bytes / 1e9:.3g} GB back"
        spent = f"; re-creation {self.recreation_ms / 1000:.1f} s" if self.recreated else ""
        approximate = f", {self.approximate} of them approximate" if self.approximate else ""
        return f"K/V of {self.retrieved} retrieved frames: {found}{approximate}; {moved}{spent}"
