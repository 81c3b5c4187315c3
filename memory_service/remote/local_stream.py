"""A stream of advances over the socket of the local path."""

import socket
import threading
from contextlib import suppress

from memory_service.local.messages import Messages, is_connected, send_message
from memory_service.remote.stream import Stream
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.frame_messages import AdvanceAnswer
from memory_service.wire.local_call import local_call

_MOST_ANSWER_BYTES = 1 << 30
"""Only what answers are: the server cuts them to far less."""

_CONNECT_S = 0.1
"""A server that takes calls has taken this one by then; another one's callers go by gRPC."""


class LocalStream(Stream):
    """One connection, one question at a time; see `memory_service.remote.advancing`."""

    def __init__(self, socket_path: str, session: str, authorization: str) -> None:
        """Raises OSError where nobody listens."""
        super().__init__()
        self._lock = threading.Lock()
        self._asking = self._ended = False
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._connection.settimeout(_CONNECT_S)
            self._connection.connect(socket_path)
            send_message(self._connection, local_call(session, authorization))
            self._connection.settimeout(None)
        except OSError:
            self._connection.close()
            raise
        self._messages = Messages(self._connection, _MOST_ANSWER_BYTES)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return is_connected(self._connection)

    def ask(self, request: pb.AdvanceRequest) -> AdvanceAnswer | None:
        """The answer to a request; None where the connection ends instead: then nothing is known about it."""
        with self._lock:
            if self._ended:
                return None
            self._asking = True
        data = None
        try:
            with suppress(OSError):
                send_message(self._connection, request.SerializeToString())
                data = next(self._messages, None)
        finally:  # an interrupt, too: the answer would come to the next question
            with self._lock:
                self._asking = False
                if self._ended:
                    self._connection.close()
            if data is None:
                self.end()
        if data is None:
            return None
        self.answered = True
        return AdvanceAnswer(data)

    def end(self) -> None:
        """Hang up, from any thread; idempotent."""
        with self._lock:
            self._ended = True
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            if not self._asking:  # who reads from a closed socket may read from another one's
                self._connection.close()
