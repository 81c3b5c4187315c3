"""What all verbs share."""

from memory_service.connection import Connection
from memory_service.remote.payloads import PayloadCache
from memory_service.writer import Writer


class Verbs:
    """Verbs over `connection`. `writer` holds what is not durable yet, `payloads` what was fetched."""

    def __init__(self, connection: Connection, writer: Writer, payloads: PayloadCache) -> None:
        self._connection = connection
        self._call, self._stub = connection.call, connection.stub
        self._writer = writer
        self._payloads = payloads
