"""Messages on a stream socket: each is preceded by its length in 4 bytes, little-endian."""

import socket

from memory_service.errors import TooLarge

_LENGTH_BYTES = 4
_FIRST_READ_BYTES = 64 << 10
"""A message without payloads arrives with its length in one read."""


def send_message(connection: socket.socket, data: bytes) -> None:
    """Send one message; waits while the other side does not read. Raises OSError."""
    connection.sendall(len(data).to_bytes(_LENGTH_BYTES, "little") + data)


def is_connected(connection: socket.socket) -> bool:
    """Whether the other side is there."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False


class Messages:
    """What comes from the other side, as an iterator that ends when that side hangs up."""

    def __init__(self, connection: socket.socket, max_bytes: int) -> None:
        self._connection = connection
        self.max_bytes = max_bytes
        self._ahead = b""

    def __iter__(self) -> "Messages":
        return self

    def __next__(self) -> bytes:
        """Raises TooLarge for a message of more than `max_bytes`, before it is received."""
        data = self._ahead
        while len(data) < _LENGTH_BYTES:
            data += self._received(_FIRST_READ_BYTES)
        size = int.from_bytes(data[:_LENGTH_BYTES], "little")
        if size > self.max_bytes:
            raise TooLarge(
                f"a message has {size} bytes", field="request", expected=f"at most {self.max_bytes}"
            )
        stop = _LENGTH_BYTES + size
        if len(data) < stop:
            pieces, missing = [data], stop - len(data)
            while missing:  # a signal may cut a read short
                pieces.append(self._received(missing, socket.MSG_WAITALL))
                missing -= len(pieces[-1])
            data = b"".join(pieces)
        self._ahead = data[stop:]
        return data[_LENGTH_BYTES:stop]

    def _received(self, num_bytes: int, flags: int = 0) -> bytes:
        try:
            data = self._connection.recv(num_bytes, flags)
        except OSError:  # reset by the other side, or closed by a thread of this one
            data = b""
        if not data:
            raise StopIteration
        return data
