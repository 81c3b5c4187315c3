"""A method and its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from generator.configs import Geometry, Sampling, Window
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.methods.context import Policy
from generator.story.switching import Switching
from generator.wan.kv_shape import KVShape
from memory_service.types import Policy as Selection


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """A method and its numbers; a variant changes one field."""

    policy: Policy
    geometry: Geometry
    window: Window = field(default_factory=Window)
    sampling: Sampling = field(default_factory=Sampling)
    switching: Switching = field(default_factory=Switching)
    kv: KVConfig = field(default_factory=KVConfig)
    selection: Selection = field(default_factory=Selection)
    """How the memory chooses among the eligible frames of a method that searches."""

    @property
    def retrieves(self) -> bool:
        """Whether evicted keys and values can be attended again."""
        return self.policy.retrieves and self.window.top_k > 0

    def host_tier(self, shape: KVShape, blocks: int) -> HostTier | None:
        """Where evicted keys and values of so many blocks go. Raises KVBudgetError where they cannot."""
        evicted = max(0, blocks * self.window.block_frames - self.window.window_frames)
        return self.kv.host_tier(shape, evicted) if self.retrieves else None

    def check_length(self, blocks: int) -> None:
        """Raises ConfigError where the method cannot be run with this window, or not for so many blocks."""
        self.policy.check(self.window, blocks * self.window.block_frames)
        self.switching.check(self.policy)
