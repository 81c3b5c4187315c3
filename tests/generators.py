"""`reverie-generate` in processes that start at once: forks of one that has loaded the libraries."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["generator.requests.generate", "generator.commands.run", "generator.options.model"]
)


def run_command(out: Connection, errors: str, words: tuple[str, ...]) -> None:
    """What a fork does: the command, its output into a pipe and a file."""
    from generator.__main__ import main

    os.dup2(out.fileno(), 1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
    # Its own, as a new process has them: what the fork inherited belongs to its parent's tests.
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class GeneratorProcess:
    """One `reverie-generate run`. Leaving the context kills it."""

    def __init__(self, errors: Path, *words: object) -> None:
        """errors: the file that its standard error is added to."""
        self._read, written = FORKS.Pipe(duplex=False)
        self.errors = errors
        command = ("run", "--progress", "json", "--threads", "1", *map(str, words))
        self._process = FORKS.Process(target=run_command, args=(written, str(errors), command))
        self._process.start()
        written.close()
        self._lines = open(self._read.fileno(), closefd=False)  # noqa: SIM115
        self.frames = 0

    def __enter__(self) -> GeneratorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def reach(self, frames: int) -> None:
        """Return when so many latent frames are done, or when it has ended."""
        while self.frames < frames and (line := self._lines.readline()):
            event = json.loads(line)
            self.frames += event["frames"] if event["event"] == "advance" else 0

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit code, negative for a signal."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, self.errors.read_text()
        return self._process.exitcode

    def kill(self) -> int:
        """kill -9, unless it has ended; the exit code."""
        self._process.kill()
        return self.wait()
