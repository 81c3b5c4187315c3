"""Sizes and times as people type them: "10GiB", "500MB", "90s", "2h"; plain numbers are bytes and seconds."""

import argparse
import re

_BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def num_bytes(text: str) -> int:
    """A whole number of bytes. Raises ArgumentTypeError."""
    return round(_quantity(text, _BYTES))


def seconds(text: str) -> float:
    """Seconds. Raises ArgumentTypeError."""
    return _quantity(text, _SECONDS)


def _quantity(text: str, units: dict[str, int] | dict[str, float]) -> float:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if found is None or found[2] not in units:
        known = ", ".join(filter(None, units))
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, alone or with one of {known}")
    return float(found[1]) * units[found[2]]


def human_bytes(count: int) -> str:
    """A size to read, e.g. "1.5 GiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
