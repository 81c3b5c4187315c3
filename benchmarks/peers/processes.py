"""Starting the processes that serve a peer, and ending them."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

READY_S = 120.0
STOP_S = 60.0


@contextmanager
def running(command: Sequence[str], ready: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the line of its output that begins with `ready`; ended by SIGTERM on leaving."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    impatience = threading.Timer(READY_S, process.kill)
    impatience.start()
    try:
        while not (line := process.stdout.readline()).startswith(ready):
            if not line:
                raise RuntimeError(f"{command[0]} ended: {process.wait(STOP_S)}")
        impatience.cancel()
        yield process, line
    finally:
        impatience.cancel()
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
