"""The methods, by name: each fills a block's context in its own way; everything else is the same rollout.

The first is the default. `_paper` marks a variant that follows the paper where the released code does not.
"""

from __future__ import annotations

from generator.errors import ConfigError
from generator.methods.context import Policy
from generator.methods.deep_forcing import DeepForcing, DeepSink
from generator.methods.infinity_rope import InfinityRope
from generator.methods.retrieving import Retrieving
from generator.methods.sliding import Sliding

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Retrieving("longlive_rag", filled_by="search"),
        Sliding("relative", positions="slot"),
        Sliding("native", positions="absolute"),
        InfinityRope("infinity_rope"),
        InfinityRope("infinity_rope_paper", paper=True),
        DeepSink("deep_sink"),
        DeepSink("deep_sink_paper", paper=True),
        DeepForcing("deep_forcing"),
        DeepForcing("deep_forcing_paper", paper=True),
        Retrieving("local_only", filled_by="nothing"),
        Retrieving("newest_memory", filled_by="newest"),
        Retrieving("random_memory", filled_by="random"),
    )
}
"""`relative` is the control for everything that retrieves, `local_only` for the frames that retrieval takes
from the local window, `newest_memory` and `random_memory` for what it puts there."""


def policy_named(name: str) -> Policy:
    """Raises ConfigError with the names there are."""
    if name not in POLICIES:
        raise ConfigError(f"no method {name!r}; expected one of {', '.join(POLICIES)}")
    return POLICIES[name]
