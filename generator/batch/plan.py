"""What of a list of jobs is to be made, and why; the rest is complete by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from generator.batch.fingerprints import file_sha256
from generator.batch.job import Job
from generator.batch.ledger import Entry, Ledger

NEW = "new"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One job that is to be made."""

    job: Job
    why: str
    entry: Entry | None
    """Of the last attempt at it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All jobs, in the order of the list."""

    jobs: tuple[Job, ...]
    to_make: tuple[Planned, ...]

    @property
    def num_complete(self) -> int:
        return len(self.jobs) - len(self.to_make)

    def lines(self) -> Iterator[str]:
        """One per job, and a sum."""
        why = {planned.job.name: planned.why for planned in self.to_make}
        for job in self.jobs:
            yield (
                f"make  {job.name}  ({why[job.name]})" if job.name in why else f"skip  {job.name}  (complete)"
            )
        yield f"{len(self.to_make)} to make, {self.num_complete} complete"


def make_plan(jobs: Sequence[Job], ledger: Ledger, out: Path, *, replace: bool) -> Plan:
    """Judge every job by its entry and its files.

    Raises FileExistsError where files of another origin bear a new job's names, unless `replace`.
    """
    judged = [(job, ledger.read(job.name)) for job in jobs]
    to_make = [
        Planned(job=job, why=why, entry=entry) for job, entry in judged if (why := why_made(job, entry, out))
    ]
    strange = [file for p in to_make if p.entry is None for file in p.job.files if (out / file).exists()]
    if strange and not replace:
        raise FileExistsError(
            f"{out} has files that no batch made, or whose entry is lost: {', '.join(strange[:8])}; "
            "expected another --out, or --replace"
        )
    return Plan(jobs=tuple(jobs), to_make=tuple(to_make))


def why_made(job: Job, entry: Entry | None, out: Path) -> str:
    """Why a job must be made; empty where it is complete."""
    if entry is None:
        return NEW
    if entry.state != "done":
        return "half done" if entry.state == "running" else f"failed: {entry.reason.splitlines()[0]}"
    if entry.digest != job.digest:
        return f"other {', '.join(differences(entry.description, job.description))}"
    for name in job.files:
        path, file = out / name, entry.files.get(name)
        if file is None or not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != file.bytes or file_sha256(path) != file.sha256:
            return f"{name} was changed"
    return ""


def differences(before: Mapping[str, object], now: Mapping[str, object], above: str = "") -> list[str]:
    """Dotted names of the fields that are not the same."""
    names = []
    for field in sorted(before.keys() | now.keys()):
        old, new = before.get(field), now.get(field)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names += differences(old, new, f"{above}{field}.")
        elif old != new:
            names.append(f"{above}{field}")
    return names
