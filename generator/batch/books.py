"""Enters what a crew does into the ledger of its result folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from generator.batch.job import Job
from generator.batch.ledger import Entry, FileDigest, Ledger
from generator.batch.messages import Outcome


class Books:
    """A `Book` for a crew that makes these jobs in one pool of one memory."""

    def __init__(self, ledger: Ledger, jobs: Sequence[Job], memory: str, pool: str) -> None:
        self._ledger, self._memory, self._pool = ledger, memory, pool
        self._jobs = {job.name: job for job in jobs}
        self._running: dict[str, Entry] = {}

    def started(self, name: str, attempt: int) -> None:
        job = self._jobs[name]
        entry = Entry(
            name=name,
            state="running",
            digest=job.digest,
            description=job.description,
            memory=self._memory,
            pool=self._pool,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            attempts=attempt,
        )
        self._running[name] = entry
        self._ledger.write(entry)

    def ended(self, name: str, outcome: Outcome) -> None:
        ended = replace(
            self._running.pop(name),
            state="failed" if outcome.reason else "done",
            reason=outcome.reason,
            seconds=outcome.seconds,
            files={file: FileDigest(**digest) for file, digest in outcome.files.items()},
            settings=outcome.settings,
            timings=outcome.timings,
            retrievals=outcome.retrievals,
        )
        self._ledger.write(ended)
