"""The manifest of a result folder: what was asked for, by what, and what became of every job."""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from generator.batch.fingerprints import Fingerprint, Fingerprints
from generator.batch.job import Job, versions
from generator.batch.ledger import Ledger, write_whole

NAME = "manifest.json"
FORMAT = 1

ABOUT_PROCESSES = frozenset(["command", "dry_run", "environment", "execute", "words", "worker"])
"""Options that say nothing about the results; the environment may hold a token."""


def known_fingerprints(out: Path) -> dict[str, Fingerprint]:
    """Of the weights that the batch before this one used; none where there is no manifest of this format."""
    try:
        fields = json.loads((out / NAME).read_text(encoding="utf-8"))
        return {name: Fingerprint(**fingerprint) for name, fingerprint in fields["weights"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write(
    options: argparse.Namespace,
    jobs: Sequence[Job],
    ledger: Ledger,
    fingerprints: Fingerprints,
    seconds: float,
) -> None:
    """Write `manifest.json` into the result folder: the options, and the jobs in the order of the list."""
    entries = {job.name: ledger.read(job.name) for job in jobs}
    told = {name: entry.to_json() if entry else {"state": "waiting"} for name, entry in entries.items()}
    given = {name: value for name, value in vars(options).items() if name not in ABOUT_PROCESSES}
    content = {
        "format": FORMAT,
        "config": {name: str(value) if isinstance(value, Path) else value for name, value in given.items()},
        "seeds": list(options.seeds),
        "versions": versions() | {"python": platform.python_version(), "machine": platform.machine()},
        "weights": fingerprints.to_json(),
        "counts": Counter(str(entry["state"]) for entry in told.values()),
        "seconds": round(seconds, 3),
        "jobs": told,
    }
    write_whole(options.out / NAME, content)
