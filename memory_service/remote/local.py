"""Whether payloads go through files: asked of the server once, and again when it ends a session."""

import logging
import threading
import time
from collections.abc import Sequence
from math import inf

from memory_service.errors import DeadlineExceeded, Exhausted, Overloaded, PermissionDenied
from memory_service.remote.connection import Connection
from memory_service.remote.local_path import LocalPath
from memory_service.remote.local_stream import LocalStream
from memory_service.v1 import memory_pb2 as pb

_log = logging.getLogger(__name__)

_ASK_AGAIN_S = 30.0
"""Until a server that had no room for a session is asked once more, seconds."""

_NEVER_COMMITS = "none"
"""The durability of a server that makes nothing durable before it is asked to."""

STAGING_BYTES = 16 << 20
"""Size of the staging file asked for: blocks that several threads send at a time."""


class LocalOffer:
    """The local path to one server, where there is one. Safe for threads.

    `becomes_durable` is whether the server makes what it keeps durable without being asked to.
    """

    def __init__(self, connection: Connection, *, wanted: bool) -> None:
        """Without `wanted` the server is not asked."""
        self._connection = connection
        self._wanted = wanted and connection.stays_here
        self._asked = not self._wanted
        self._ask_again_at = inf
        self._path: LocalPath | None = None
        self.becomes_durable = True
        self._lock = threading.Lock()
        connection.advance.local_stream = self._stream

    def path(self) -> LocalPath | None:
        """The path, or None where payloads go through messages. Raises what asking the server raises."""
        if self._asked and time.monotonic() < self._ask_again_at:
            return self._path
        began, timeout_s = time.monotonic(), self._connection.timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise DeadlineExceeded(f"the server did not say within {timeout_s} s how payloads may go")
        try:
            if not self._asked or time.monotonic() >= self._ask_again_at:
                self._ask_again_at = inf
                self._path = self._open(began + timeout_s)
                self._asked = True
            return self._path
        finally:
            self._lock.release()

    def _stream(self, session: str, metadata: Sequence[tuple[str, str]]) -> LocalStream | None:
        """A new stream of advances over the socket of a session; None where there is none."""
        path = self._path
        if path is None or path.session != session or not path.socket_path:
            return None
        try:
            return LocalStream(path.socket_path, session, dict(metadata).get("authorization", ""))
        except OSError as exc:
            _log.info("no local socket reason=%s", exc)
            return None

    def over(self, path: LocalPath) -> None:
        """The server does not know the session of `path` any more: it is asked anew by the next use."""
        with self._lock:
            if self._path is path:
                self._path, self._asked = None, False
                path.close()

    def close(self) -> None:
        """Give the path up; idempotent."""
        with self._lock:
            self._asked, path, self._path = True, self._path, None
            self._ask_again_at = inf
            if path is not None:
                path.close()

    def _open(self, deadline: float) -> LocalPath | None:
        """Ask, until `deadline` on the steady clock."""
        stub = self._connection.stub
        left_s = max(0.0, deadline - time.monotonic())
        info = self._connection.call(stub.ServerInfo, pb.ServerInfoRequest(), within_s=left_s)
        self.becomes_durable = info.durability != _NEVER_COMMITS
        if not info.local_path:
            return None
        try:
            request = pb.OpenLocalRequest(staging_bytes=STAGING_BYTES)
            left_s = max(0.0, deadline - time.monotonic())
            return LocalPath.opened(self._connection.call(stub.OpenLocal, request, within_s=left_s))
        except (PermissionDenied, Overloaded, Exhausted) as exc:
            _log.warning("payloads go by message reason=%s", exc)
            if not isinstance(exc, PermissionDenied):
                self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
            return None
