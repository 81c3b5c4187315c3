"""Child processes: lines go both ways, last words are kept, and none outlives its parent's command."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Self

LAST_LINES = 20
POLL_S = 0.05
GRACE_S = 10.0
"""How long a process may take to end after it was asked to."""


class ProcessError(Exception):
    """A process ended other than it should; the message has its last lines."""


class Process:
    """One child process. Leaving the context ends it, whatever state it is in.

    `on_line` gets each line of its standard output, in a thread of its own; a line that makes it raise
    ValueError counts as one of the last words instead, as every line of standard error does. `listens`:
    whether it reads what `tell` sends; its standard input then ends with its parent, however that ends.
    """

    def __init__(
        self, name: str, command: Sequence[str], on_line: Callable[[str], None], *, listens: bool = False
    ) -> None:
        self.name = name
        self._on_line = on_line
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._asked = False
        # A session of its own: Ctrl-C reaches the parent alone, which then ends its children in order.
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._popen.stdout, self._hear), daemon=True),
            threading.Thread(target=self._read, args=(self._popen.stderr, self._last.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._popen.poll()

    def check(self) -> bool:
        """Whether it has ended well; False while it runs. Raises ProcessError where it failed."""
        code = self._popen.poll()
        if code is None:
            return False
        if code != 0:
            raise ProcessError(self.last_words(f"{self.name} ended with {ending(code)}"))
        self._join()
        return True

    def tell(self, line: str) -> None:
        """Send one line; whether it was read, only its answer can tell."""
        assert self._popen.stdin is not None, "it does not listen"
        with suppress(BrokenPipeError):
            self._popen.stdin.write(line + "\n")
            self._popen.stdin.flush()

    def last_words(self, what: str) -> str:
        """`what`, with the last lines that the process wrote."""
        if self.poll() is not None:
            self._join()
        return "\n".join([what + (":" if self._last else ""), *(f"    {line}" for line in self._last)])

    def ask_to_end(self) -> None:
        """Ask it to end, once, without waiting: several that are asked first end at once."""
        # A second signal would interrupt what the first one made it close.
        if self._popen.poll() is None and not self._asked:
            self._popen.terminate()
        self._asked = True

    def stop(self) -> int:
        """Ask it to end, and end it if it does not; its exit code."""
        self.ask_to_end()
        if self._popen.poll() is None:
            try:
                self._popen.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._join()
        if self._popen.stdin is not None:
            with suppress(BrokenPipeError):
                self._popen.stdin.close()
        return self._popen.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _hear(self, line: str) -> None:
        try:
            self._on_line(line)
        except ValueError:
            self._last.append(line)

    def _read(self, stream: IO[str], take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                take(line.rstrip("\n"))

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()


def wait_for_all(processes: Sequence[Process]) -> None:
    """Return when all have ended well. Raises ProcessError as soon as one has failed."""
    running = list(processes)
    while running:
        running = [process for process in running if not process.check()]
        if running:
            time.sleep(POLL_S)


def ending(code: int) -> str:
    """An exit code of a process in words."""
    return f"exit code {code}" if code > 0 else f"signal {-code}"
