"""The server's side of the local path: one staging file for each client."""

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from memory_service.errors import Exhausted, InvalidArgument, Overloaded, Unavailable
from memory_service.local import PROOF_BYTES
from memory_service.local.staged_reads import Buffers, Extents, extents_bytes, read_extents
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory: staged payloads are read once and need no disk."""

_MIN_STAGING_BYTES = 1 << 20
_GRACE_S = 10.0
"""Time that a client has to take its lock on a new staging file, seconds."""


@dataclass(frozen=True, slots=True)
class Session:
    """One client's staging file; `proof` is what it starts with."""

    name: str
    path: Path
    num_bytes: int
    proof: bytes


@dataclass(slots=True)
class _Open:
    """Its file stays open as long as anyone holds this: a session may end while it is read."""

    session: Session
    fd: int
    since: float

    def __del__(self) -> None:
        os.close(self.fd)


class LocalSessions:
    """Staging files in a directory of this server's own. Safe for threads.

    A client holds a shared lock on its file. When nobody holds it any more, however the client ended, the
    session is over and its file goes: a thread looks every `sweep_s` seconds. A server holds a lock on its
    directory in the same way, and the next one, of whatever data, removes those that nobody holds.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        max_sessions: int = 64,
        max_staging_bytes: int = 64 << 20,
        max_block_bytes: int = 16 << 20,
        sweep_s: float = 2.0,
    ) -> None:
        """Raises Unavailable where no files can be kept in memory."""
        self.data_dir = data_dir.resolve()
        self._max_sessions = max_sessions
        self._max_staging_bytes = max_staging_bytes
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()
        self._max_block_bytes = max_block_bytes
        self._buffers = Buffers()
        prefix = f"reverie-{os.getuid()}-"
        try:
            _remove_abandoned(prefix)
            self._directory, self._directory_fd = _own_directory(prefix)
        except OSError as exc:
            raise Unavailable(
                f"no files in {SHARED_MEMORY}: {exc.strerror}",
                field="local_path",
                expected="a file system in memory that can be written to",
            ) from exc
        self._sweep_s = sweep_s
        self._beat = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-sessions", daemon=True)
        self._thread.start()

    @property
    def worker(self) -> Worker:
        """The thread that ends sessions."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, 10 * self._sweep_s)

    @property
    def socket_path(self) -> Path:
        """Where the socket of the local path is to be: in a directory that is closed to other users."""
        return self._directory / "advance.sock"

    def open(self, num_bytes: int) -> Session:
        """A new session with a staging file of about `num_bytes`, all of it there to be written to.

        Raises InvalidArgument, Overloaded, Exhausted where there is no memory for it.
        """
        if num_bytes < 0:
            raise InvalidArgument(
                f"staging_bytes is {num_bytes}", field="staging_bytes", expected="a size in bytes"
            )
        size = PROOF_BYTES + min(max(num_bytes, _MIN_STAGING_BYTES), self._max_staging_bytes)
        session = Session(
            secrets.token_hex(16),
            self._directory / secrets.token_hex(16),
            size,
            secrets.token_bytes(PROOF_BYTES),
        )
        with self._lock:
            if len(self._open) >= self._max_sessions:
                raise Overloaded(
                    "too many local sessions",
                    expected=f"at most {self._max_sessions}",
                    details={"retry_after_ms": str(int(1e3 * _GRACE_S))},
                )
            self._open[session.name] = _Open(session, _staging_file(session), time.monotonic())
        return session

    @contextmanager
    def reading(self, session: str) -> Iterator[Callable[[Extents], list[memoryview]]]:
        """What copies staged bytes, so that the client can change them no more.

        They stay as they are within the `with`; after it other calls read into the same memory. Reading
        raises InvalidArgument naming the field, and TooLarge before it takes any memory.
        """
        taken: list[bytearray] = []

        def read(extents: Extents) -> list[memoryview]:
            with self._lock:
                opened = self._known(session)
            num_bytes = extents_bytes(extents, opened.session.num_bytes, self._max_block_bytes)
            taken.append(self._buffers.take(num_bytes))
            return read_extents(opened.fd, taken[-1], extents)

        try:
            yield read
        finally:
            for buffer in taken:
                self._buffers.give_back(buffer)

    def check(self, session: str) -> None:
        """Raises InvalidArgument unless the session is open."""
        with self._lock:
            self._known(session)

    def sweep(self) -> None:
        """End the sessions whose client is gone; with the last one goes the memory for blocks."""
        now = time.monotonic()
        with self._lock:
            for name, opened in list(self._open.items()):
                if now - opened.since > _GRACE_S and _is_free(opened.fd):
                    self._end(name)
            if not self._open:
                self._buffers.clear()

    def close(self) -> None:
        """End all sessions; idempotent."""
        self._closing.set()
        self._thread.join()
        with self._lock:
            for name in list(self._open):
                self._end(name)
            if self._directory_fd >= 0:
                shutil.rmtree(self._directory, ignore_errors=True)
                os.close(self._directory_fd)
                self._directory_fd = -1

    @property
    def num_sessions(self) -> int:
        return len(self._open)

    def _run(self) -> None:
        while not self._closing.wait(self._sweep_s):
            self._beat = time.monotonic()
            self.sweep()

    def _known(self, session: str) -> _Open:
        opened = self._open.get(session)
        if opened is None:
            raise InvalidArgument(
                "unknown local session", field="local_session", expected="an open session of OpenLocal"
            )
        return opened

    def _end(self, name: str) -> None:
        opened = self._open.pop(name)
        with suppress(OSError):
            opened.session.path.unlink()
        _log.info("local session ended session=%s open=%d", name[:8], len(self._open))


def _staging_file(session: Session) -> int:
    """A descriptor of the new file, none of it sparse: a client that writes to a map of it must not fail."""
    fd = os.open(session.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, session.num_bytes)
        os.pwrite(fd, session.proof, 0)
    except OSError as exc:
        os.close(fd)
        session.path.unlink()
        raise Exhausted(
            f"no staging file of {session.num_bytes} bytes: {exc.strerror}",
            field="staging_bytes",
            expected=f"more room in {session.path.parent.parent}, or messages",
        ) from exc
    return fd


def _own_directory(prefix: str) -> tuple[Path, int]:
    """A new directory and a descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=SHARED_MEMORY))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:  # else another server took it for abandoned before it was locked
            return path, fd
        os.close(fd)


def _remove_abandoned(prefix: str) -> None:
    """Directories of servers that have ended without a word: nobody holds their lock."""
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _is_free(fd):
                    shutil.rmtree(path)
            finally:
                os.close(fd)


def _is_free(fd: int) -> bool:
    """Whether no other process holds a lock on the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True
