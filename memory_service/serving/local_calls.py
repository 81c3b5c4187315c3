"""AdvanceStream over a UNIX socket: the same handler, lane, rights and turns, without gRPC's part."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from memory_service.errors import Unavailable
from memory_service.local.messages import Messages, send_message
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

HandlerOf = Callable[[bytes], Any]
"""gRPC's handler of a call that begins with this message; its behaviour names its threads. May refuse."""

_HELLO_S = 1.0
_HELLO_BYTES = 64 << 10
_PERIOD_S = 0.5
_BACKLOG = 64


class LocalCalls:
    """Takes calls on a socket, in a thread of its own; each is served by a thread of its lane.

    A connection is one call. Where AdvanceStream would end with a status, the connection ends.
    """

    def __init__(self, path: Path, handler_of: HandlerOf, *, max_message_bytes: int) -> None:
        """Raises Unavailable where no socket can be had."""
        self._handler_of = handler_of
        self._max_message_bytes = max_message_bytes
        self._closing = threading.Event()
        self._beat = time.monotonic()
        self._listener = _listener(path)
        self._thread = threading.Thread(target=self._run, name="local-calls", daemon=True)
        self._thread.start()

    @property
    def worker(self) -> Worker:
        """The thread that takes calls."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, _PERIOD_S + _HELLO_S)

    def close(self) -> None:
        """Take no more calls; idempotent. Those that run end as their lane's do."""
        self._closing.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._beat = time.monotonic()
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as exc:  # out of descriptors: those who call now go by gRPC
                _log.warning("local call not taken reason=%s", exc.strerror)
                self._closing.wait(_PERIOD_S)
                continue
            try:
                self._begin(connection)
            except Exception as exc:
                connection.close()
                _log.info("local call refused reason=%s", exc)

    def _begin(self, connection: socket.socket) -> None:
        """Hear who calls, and hand the call to a thread of its lane. Raises what refuses it."""
        connection.settimeout(_HELLO_S)
        messages = Messages(connection, _HELLO_BYTES)
        behaviour = self._handler_of(next(messages, b"")).stream_stream
        if behaviour is None:
            raise Unavailable("the gate lets no more calls in")
        connection.settimeout(None)
        messages.max_bytes = self._max_message_bytes
        behaviour.experimental_thread_pool.submit(_serve, behaviour, messages, connection)


class _Context:
    """What a call asks of gRPC's context, of a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._callbacks: list[Callable[[], None]] = []

    def time_remaining(self) -> None:
        """There is no deadline: a caller that waits no longer hangs up."""

    def is_active(self) -> bool:
        """Whether the caller is there."""
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def peer(self) -> str:
        return "unix:"

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have `callback` called when the call is over."""
        self._callbacks.append(callback)
        return True

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def cancel(self) -> None:
        """Hang up on the caller, from any thread."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def set_code(self, code: Any) -> None:
        """Nobody is told: the connection ends."""

    set_details = set_trailing_metadata = set_code

    def send(self, data: bytes | None) -> None:
        """Send an answer, or with None hang up. A caller who is gone is found by `is_active`."""
        if data is None:
            self.cancel()
            return
        with suppress(OSError):
            send_message(self._connection, data)

    def end(self) -> None:
        """Close the socket and tell who asked to be told."""
        self._connection.close()
        for callback in self._callbacks:
            callback()


def _serve(behaviour: Callable[..., None], messages: Messages, connection: socket.socket) -> None:
    context = _Context(connection)
    try:
        behaviour(messages, context, context.send)
    finally:
        context.end()


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.settimeout(_PERIOD_S)
    except OSError as exc:
        listener.close()
        raise Unavailable(
            f"no socket at {path}: {exc.strerror}", field="local_path", expected="a directory for sockets"
        ) from exc
    return listener
