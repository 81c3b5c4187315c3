"""A memory service as a child process, for commands that bring their own.

Run as a program it is that child: `memory_service`, until standard input ends. So the service goes with its
parent also where that is killed, and its data can be opened by the next.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from generator.processes.process import POLL_S, Process, ProcessError

READY_S = 60.0
"""How long the service may take to start on a busy machine."""


def start_service(data: Path, stack: ExitStack) -> tuple[Process, str]:
    """Start a service that keeps its reels in `data` and ends with the stack.

    Returns it and its address once it serves. Raises ProcessError where it does not.
    """
    lines: list[str] = []
    command = [sys.executable, "-m", "generator.processes.service", "serve"]
    command += ["--data", str(data), "--address", "127.0.0.1:0"]
    service = stack.enter_context(Process("the memory service", command, lines.append, listens=True))
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for line in lines:
            if found := re.match(r"serving address=(\S+)", line):
                return service, found[1]
        if service.poll() is not None:
            raise ProcessError(service.last_words("the memory service ended before it served"))
        time.sleep(POLL_S)
    raise ProcessError(service.last_words(f"the memory service did not serve within {READY_S:.0f} s"))


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("memory_service", run_name="__main__", alter_sys=True)
