"""A memory in a process of its own, as its users run it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

START_LINE = re.compile(r"serving address=(\S+) data=\S+ index=\S+ pid=(\d+)\n")


class ServerProcess:
    """`reverie-memory serve`, running once made. Leaving the context kills it."""

    def __init__(
        self,
        data_dir: Path,
        address: str = "127.0.0.1:0",
        *arguments: str,
        log: Path | None = None,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """`prefix` is a command that runs another one; `options` are those of Popen, such as `env`."""
        self.log = log or data_dir.parent / "server.log"
        with self.log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*prefix, *command(data_dir, address, *arguments)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                **options,
            )
        assert self._process.stdout is not None
        found = START_LINE.fullmatch(self._process.stdout.readline())
        if found is None:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log.read_text()}")
        self.address, self.pid = found[1], int(found[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a SIGSTOP has stopped all threads when this returns."""
        self._process.send_signal(number)
        while number == signal.SIGSTOP and not self._is_stopped():
            time.sleep(0.001)

    def _is_stopped(self) -> bool:
        states = [
            path.read_text().rpartition(")")[2].split()[0]
            for path in Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        ]
        return set(states) <= {"T"}

    def wait(self, timeout_s: float = 20.0) -> int:
        """The exit code."""
        code = self._process.wait(timeout_s)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def kill(self) -> None:
        """kill -9, unless it has ended."""
        self._process.kill()
        self.wait()

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) << 10


def command(data_dir: Path, address: str, *arguments: str) -> list[str]:
    """The command line of a server."""
    serve = ["serve", "--data", str(data_dir), "--address", address, *arguments]
    return [sys.executable, "-m", "memory_service", "--log-level", "WARNING", *serve]


def without_privileges() -> list[str]:
    """A prefix that makes permissions hold for root too; empty for anybody else."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root is above permissions, and there is no setpriv to change that")
    return [setpriv, "--bounding-set", "-dac_override,-dac_read_search,-chown", "--inh-caps", "-all"]
