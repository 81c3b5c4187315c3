"""Names of what a rollout may choose for keys and values; for the command line, which loads no torch."""

from __future__ import annotations

from typing import Literal

Mode = Literal["exact", "bounded", "latent"]
Layout = Literal["alone", "with_sink", "block_with_sink"]

DEFAULT_MODE: Mode = "exact"
DEFAULT_LAYOUT: Layout = "block_with_sink"
