"""The options for the keys and values of past frames."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from generator.kv.modes import DEFAULT_LAYOUT, DEFAULT_MODE, Layout, Mode

if TYPE_CHECKING:
    from generator.kv.config import KVConfig

UNITS = {"": 1, "b": 1} | {f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}
UNITS |= {f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)}


def add_kv(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("keys and values of past frames, see docs/kv.md")
    group.add_argument(
        "--kv",
        choices=get_args(Mode),
        help="exact: all in host memory; bounded: as many as the budget holds, the others are re-created "
        f"from their latents; latent: none in host memory; default: {DEFAULT_MODE}",
    )
    group.add_argument(
        "--kv-budget",
        type=num_bytes,
        metavar="BYTES",
        help="host memory for them, e.g. 48GB or 32GiB; default: three quarters of what is available",
    )
    group.add_argument(
        "--kv-device-frames",
        type=int,
        metavar="N",
        help="retrieved or evicted frames that stay on the device; default: 40, in a quarter of its free "
        "memory at most",
    )
    group.add_argument(
        "--kv-layout",
        choices=get_args(Layout),
        help=f"what a frame is re-created with; default: {DEFAULT_LAYOUT}",
    )


def config(options: argparse.Namespace, begun: KVConfig | None = None) -> KVConfig:
    """What the options say, over what a video was begun with. Raises ConfigError."""
    from generator.kv.config import KVConfig

    given = {
        "mode": options.kv,
        "host_bytes": options.kv_budget,
        "device_frames": options.kv_device_frames,
        "layout": options.kv_layout,
    }
    return replace(begun or KVConfig(), **{name: value for name, value in given.items() if value is not None})


def num_bytes(text: str) -> int:
    """ "48GB", "1.5 GiB", "100000" -> bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"expected bytes as in 48GB or 1.5GiB, got {text!r}")
    return int(float(found[1]) * UNITS[found[2]])
