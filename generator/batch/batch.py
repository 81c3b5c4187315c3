"""A list of prompts over worker processes that share one memory, and the folder of results.

What is complete is left alone, by content: a job is skipped where its description and its files are what the
folder's entry says. Everything else is made; what an interrupt or a crash left half done is begun anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from generator.batch import manifest, prompts
from generator.batch.board import Tally, board_for
from generator.batch.books import Books
from generator.batch.crew import Crew
from generator.batch.fingerprints import Fingerprints
from generator.batch.job import jobs_of, recipe
from generator.batch.ledger import Ledger
from generator.batch.messages import Order
from generator.batch.plan import Plan, Planned, make_plan
from generator.processes.process import Process, ProcessError
from generator.processes.service import start_service

OWN_MEMORY = "memory"
"""Folder under the results in which a batch keeps the memory that it starts."""


def run_batch(options: argparse.Namespace, console: Console) -> int:
    """Make what is not complete; the exit code, 1 where a job failed.

    Raises GeneratorError, OSError, and ProcessError where the memory or a worker cannot go on.
    """
    started = time.monotonic()
    fingerprints = Fingerprints(manifest.known_fingerprints(options.out))
    common = recipe(options, fingerprints)
    jobs = jobs_of(prompts.read(options.prompts), options.seeds, options.methods, common)
    ledger = Ledger(options.out)
    if options.dry_run:
        say(console, *make_plan(jobs, ledger, options.out, replace=options.replace).lines())
        return 0
    with ledger.locked():
        plan = make_plan(jobs, ledger, options.out, replace=options.replace)
        say(console, f"{len(plan.to_make)} to make, {plan.num_complete} complete in {options.out}")
        try:
            if plan.to_make:
                make(plan, options, ledger, console)
        finally:
            manifest.write(options, jobs, ledger, fingerprints, time.monotonic() - started)
    return report(plan, ledger, options.out, console)


def make(plan: Plan, options: argparse.Namespace, ledger: Ledger, console: Console) -> None:
    """Let workers make what the plan says, against the memory of the options or one of the batch's own."""
    size = min(options.workers, len(plan.to_make))
    memory = options.memory or OWN_MEMORY
    with ExitStack() as stack:
        address, check = memory_for(options, stack)
        orders = [order_of(planned, options, memory) for planned in plan.to_make]
        tally = Tally(len(orders), options.frames)
        board = stack.enter_context(board_for(console, tally, size))
        books = Books(ledger, plan.jobs, memory, options.pool)
        command = worker_command(options, address)
        stack.enter_context(Crew(size, command, books, board)).make(orders, check)


def memory_for(options: argparse.Namespace, stack: ExitStack) -> tuple[str, Callable[[], None]]:
    """Address of the memory, and a function that raises ProcessError when the batch's own has ended."""
    if options.memory:
        return options.memory, lambda: None
    service, address = start_service(options.out / OWN_MEMORY, stack)
    return address, lambda: check(service)


def check(service: Process) -> None:
    if service.poll() is not None:
        raise ProcessError(service.last_words("the memory service ended while it was needed"))


def order_of(planned: Planned, options: argparse.Namespace, memory: str) -> Order:
    """The video is dropped first where an earlier attempt of ours may have left part of it in the memory."""
    entry, job = planned.entry, planned.job
    ours = entry is not None and (entry.memory, entry.pool) == (memory, options.pool)
    return Order(
        name=job.name, prompt=job.prompt, seed=job.seed, method=job.method, drop=ours or options.replace
    )


def worker_command(options: argparse.Namespace, address: str) -> Callable[[int], list[str]]:
    """Worker number -> its command line: that of the batch, so that both read the same options."""
    command, *words = options.words
    python = [sys.executable, "-m", "generator", command]
    return lambda number: [*python, "--worker", str(number), *words, f"--memory={address}"]


def report(plan: Plan, ledger: Ledger, out: Path, console: Console) -> int:
    """Say what was made and what failed, and why; the exit code."""
    entries = {planned.job.name: ledger.read(planned.job.name) for planned in plan.to_make}
    failed = {name: entry.reason for name, entry in entries.items() if entry and entry.state == "failed"}
    say(console, *(f"failed: {name}: {reason}" for name, reason in failed.items()))
    made = len(entries) - len(failed)
    say(
        console,
        f"{made} made, {plan.num_complete} complete before, {len(failed)} failed; {out / manifest.NAME}",
    )
    return 1 if failed else 0


def say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
