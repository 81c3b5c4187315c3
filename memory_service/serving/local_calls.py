"""AdvanceStream over a UNIX socket: the same handler, lane, rights and turns, without gRPC's part."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import Any

from memory_service.errors import Unavailable
from memory_service.local.messages import Messages, is_connected, send_message
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

HandlerOf = Callable[[bytes], Any]
"""gRPC's handler of a call that begins with this message; its behaviour names its threads. May refuse."""

_HELLO_S = 1.0
"""A caller says who it is as soon as it is connected."""
_HELLO_BYTES = 64 << 10
"""More than a session and a token take."""
_MOST_SILENT = 64
"""Callers that have not said who they are; more are hung up on."""
_BACKLOG = 64
_PERIOD_S = 0.5
"""How often those are looked at who are silent or gone."""


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
        self._look_at = 0.0
        self._silent: dict[socket.socket, float] = {}
        self._open: set[_Context] = set()
        self._listener = _listener(path)
        self._thread = threading.Thread(target=self._run, name="local-calls", daemon=True)
        self._thread.start()

    @property
    def worker(self) -> Worker:
        """The thread that takes calls."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, _PERIOD_S)

    def close(self) -> None:
        """Take no more calls; idempotent. Those that run end as their lane's do."""
        self._closing.set()
        with suppress(OSError):  # closed before; and its thread need not wait for the end of a period
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        with DefaultSelector() as selector:
            selector.register(self._listener, EVENT_READ)
            while not self._closing.is_set():
                self._beat = time.monotonic()
                for key, _ in selector.select(_PERIOD_S):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._begin(selector, key.fileobj)
                self._look(selector)
            for connection in self._silent:
                connection.close()

    def _accept(self, selector: BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # gone again
            return
        except OSError as exc:  # out of descriptors: those who call now go by gRPC
            if self._closing.is_set():
                return
            _log.warning("local call not taken reason=%s", exc.strerror)
            self._closing.wait(_PERIOD_S)
            return
        if len(self._silent) >= _MOST_SILENT:
            connection.close()
            return
        connection.setblocking(False)
        self._silent[connection] = time.monotonic() + _HELLO_S
        selector.register(connection, EVENT_READ)

    def _begin(self, selector: BaseSelector, connection: Any) -> None:
        """Hear who calls, and hand the call to a thread of its lane, or hang up."""
        selector.unregister(connection)
        del self._silent[connection]
        try:
            messages = Messages(connection, _HELLO_BYTES)
            behaviour = self._handler_of(next(messages, b"")).stream_stream
            if behaviour is None:
                raise Unavailable("the gate lets no more calls in")
            connection.setblocking(True)
            messages.max_bytes = self._max_message_bytes
            context = _Context(connection)
            if not behaviour.experimental_thread_pool.try_submit(self._serve, behaviour, messages, context):
                raise Unavailable("no thread is free")
        except Exception as exc:
            connection.close()
            _log.info("local call refused reason=%s", exc)

    def _serve(self, behaviour: Callable[..., None], messages: Messages, context: "_Context") -> None:
        self._open.add(context)
        try:
            behaviour(messages, context, context.send)
        except Exception:
            _log.exception("local call failed")
        finally:
            self._open.discard(context)
            context.end()

    def _look(self, selector: BaseSelector) -> None:
        """Hang up on who says nothing, and end the calls whose caller is gone, once a period."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _PERIOD_S
        for connection in [connection for connection, until in self._silent.items() if now > until]:
            selector.unregister(connection)
            del self._silent[connection]
            connection.close()
        for context in list(self._open):
            if not context.is_active():
                context.tell()


class _Context:
    """What a call asks of gRPC's context, of a socket. Its call's thread uses it, and whoever ends it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def time_remaining(self) -> None:
        """There is no deadline: a caller that waits no longer hangs up."""

    def is_active(self) -> bool:
        """Whether the caller is there."""
        return is_connected(self._connection)

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
        with self._lock, suppress(OSError):  # who shuts a closed socket down may hit another one's
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

    def tell(self) -> None:
        """Tell who asked to be told, once, that the call is over or its caller gone."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def end(self) -> None:
        """Close the socket; the call is over."""
        with self._lock:
            self._connection.close()
        self.tell()


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise Unavailable(
            f"no socket at {path}: {exc.strerror}", field="local_path", expected="a directory for sockets"
        ) from exc
    return listener
