"""Rollouts that are missing in a folder, made by worker processes.

The files are the books: each says in its metadata what it was made of, and appears whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from encoder.corpus import CorpusError, describe
from encoder.untrained import UNTRAINED
from generator.batch.batch import say
from generator.batch.board import Tally, board_for
from generator.batch.crew import Crew
from generator.batch.fingerprints import Fingerprints
from generator.batch.job import Job, jobs_of, recipe
from generator.batch.messages import Order, Outcome
from generator.batch.plan import differences
from generator.corpus import prompts
from generator.corpus.folder import SUFFIX, collecting
from generator.errors import ConfigError
from generator.methods import policy_named
from generator.options.groups import check_selection
from generator.toy.config import WEIGHTS as TOY_WEIGHTS

JOB = "job"
"""Entry of a file's metadata: the description of its job as JSON."""


class Failures:
    """A `Book` that keeps why jobs failed."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def started(self, name: str, attempt: int) -> None:
        """Of no matter: what is begun is not in the folder."""

    def ended(self, name: str, outcome: Outcome) -> None:
        if outcome.reason:
            self.reasons[name] = outcome.reason


def make_rollouts(options: argparse.Namespace, console: Console) -> int:
    """Make what is missing; the exit code, 1 where a rollout failed.

    Raises ConfigError, MissingFileError, OSError, and ProcessError where no worker can begin.
    """
    check_selection(options, (options.method,))
    listed = prompts.shared(prompts.read(options.prompts), options.share, options.sample_seed)
    common = recipe_of(options)
    jobs = jobs_of(listed, options.seeds, (options.method,), common)
    with collecting(options.out):
        to_make = missing(jobs, options.out, replace=options.replace)
        num_there = len(jobs) - len(to_make)
        say(console, f"{len(to_make)} to make, {num_there} there in {options.out}")
        failures = make(to_make, options, common, console) if to_make else {}
    say(console, *(f"failed: {name}: {reason}" for name, reason in failures.items()))
    made = len(to_make) - len(failures)
    say(console, f"{made} made, {num_there} there before, {len(failures)} failed; {options.out}")
    return 1 if failures else 0


def recipe_of(options: argparse.Namespace) -> dict[str, object]:
    """What all jobs have in common. Raises MissingFileError, OSError.

    Of the toy's folder only the model counts where no encoder does: the bundled encoder is trained on a
    corpus of that model, which is no other for it.
    """
    fingerprints = Fingerprints()
    common = recipe(options, fingerprints)
    if options.backbone == "toy" and str(options.encoder) in UNTRAINED:
        transformer = (options.weights or TOY_WEIGHTS) / "transformer"
        common["weights"] = {"transformer": fingerprints.of(transformer), "encoder": str(options.encoder)}
    return common


def missing(jobs: Sequence[Job], out: Path, *, replace: bool) -> list[Job]:
    """Jobs without a file, and with `replace` those whose file is of another one.

    Raises ConfigError where there is such a file, unless `replace`.
    """
    why = {job.name: why_made(job, out) for job in jobs}
    others = [f"{name}{SUFFIX} {reason}" for name, reason in why.items() if reason]
    if others and not replace:
        raise ConfigError(
            f"{out} has files that were made otherwise: {'; '.join(others[:8])}; expected another --out, or "
            "--replace"
        )
    return [job for job in jobs if why[job.name] is not None]


def why_made(job: Job, out: Path) -> str | None:
    """What is wrong with a job's file, empty where there is none; None where it is right."""
    path = out / f"{job.name}{SUFFIX}"
    if not path.exists():
        return ""
    try:
        was = json.loads(describe(path).metadata.get(JOB, "{}"))
    except (CorpusError, ValueError):
        return "cannot be read"
    now = json.loads(json.dumps(job.description))
    return f"has other {', '.join(differing)}" if (differing := differences(was, now)) else None


def make(
    jobs: Sequence[Job], options: argparse.Namespace, common: dict[str, object], console: Console
) -> dict[str, str]:
    """Let workers make these; name -> why it failed."""
    size, failures = min(options.workers, len(jobs)), Failures()
    with ExitStack() as stack:
        board = stack.enter_context(board_for(console, Tally(len(jobs), options.frames), size))
        crew = stack.enter_context(Crew(size, worker_command(options, common), failures, board))
        crew.make((order_of(job) for job in jobs), lambda: None)
    return failures.reasons


def order_of(job: Job) -> Order:
    return Order(name=job.name, prompt=job.prompt, seed=job.seed, method=job.method, drop=False)


def worker_command(options: argparse.Namespace, common: dict[str, object]) -> Callable[[int], list[str]]:
    """Worker number -> its command line: this one's, so that both read the same options."""
    command = [sys.executable, "-m", "encoder", *options.words, f"--recipe={json.dumps(common)}"]
    return lambda number: [*command, f"--worker={number}"]


def needs_encoder(method: str) -> bool:
    """Whether the latents of a method depend on the encoder. Raises ConfigError."""
    return policy_named(method).searches
