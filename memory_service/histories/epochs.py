"""Names for stretches of a video's life."""

import secrets

_MAX_EPOCH = 2**52
"""Below this every epoch is exact in any language's floating point."""


def new_epoch() -> int:
    """A random number in [1, 2^52): a video that begins anew must not revive handles of one that is gone."""
    return 1 + secrets.randbelow(_MAX_EPOCH - 1)
