"""What all verbs share."""

from memory_service.remote.connection import Connection
from memory_service.remote.payloads import PayloadCache
from memory_service.remote.writer import Writer

_MAX_PAGE = 1 << 30
"""What a page size can be; servers give less."""


class Verbs:
    """Verbs over `connection`. `writer` holds what is not durable yet, `payloads` what was fetched."""

    def __init__(self, connection: Connection, writer: Writer, payloads: PayloadCache) -> None:
        self._connection = connection
        self._call, self._stub = connection.call, connection.stub
        self._writer = writer
        self._payloads = payloads


def rows_wanted(limit: int | None, num_rows: int) -> int | None:
    """The page size to ask for where `num_rows` have come; what the server refuses it is to refuse."""
    if limit is None or limit < 0:
        return limit
    return min(max(limit - num_rows, 1), _MAX_PAGE)
