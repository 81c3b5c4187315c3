"""The client's end of the local path: messages that name places in files instead of carrying payloads."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from memory_service.crc32c import crc32c
from memory_service.local.reels import MappedReels
from memory_service.local.staging import Staging
from memory_service.types import Block, Buffer, ReelExtent
from memory_service.v1 import memory_pb2 as pb

_log = logging.getLogger(__name__)


class LocalPath:
    """A staging file and the mapped reels of one server. Safe for threads."""

    def __init__(self, session: str, staging: Staging, reels: MappedReels) -> None:
        self.session = session
        self._staging = staging
        self._reels = reels

    @classmethod
    def opened(cls, answer: pb.OpenLocalResponse) -> Self | None:
        """The path that a server offers, or None where its files cannot be opened from here.

        That is so on another host, in a container of its own, or as another user: messages do the work then.
        """
        try:
            staging = Staging(Path(answer.staging_path), answer.staging_bytes, answer.proof)
        except OSError as exc:
            _log.info("no local path reason=%s", exc)
            return None
        try:
            return cls(answer.session, staging, MappedReels(Path(answer.data_dir)))
        except OSError as exc:
            staging.close()
            _log.info("no local path reason=%s", exc)
            return None

    @contextmanager
    def staged(self, block: Block, message: pb.Block) -> Iterator[bool]:
        """Fill the parts of `message` with places where the payloads lie while inside the `with`.

        False, and `message` as it was, where they have no room.
        """
        payloads = [payload for part in block.parts.values() for payload in part]
        with self._staging.staged(payloads) as extents:
            if extents is None:
                yield False
                return
            places = iter(extents)
            for name, part in block.parts.items():
                added = message.parts.add(name=name)
                for _ in part:
                    offset, length = next(places)
                    added.local.add(offset=offset, length=length)
            yield True

    def payload(self, message: pb.Payload) -> Buffer | None:
        """The verified bytes of a payload, as a view of the server's file; None where they cannot be had here.

        The caller then asks for them by message, and the server says what is wrong.
        """
        place = message.local
        with suppress(OSError):
            view = self._reels.view(ReelExtent(place.path, place.inode, place.offset, place.length))
            if crc32c(view) == message.crc32c:
                return view
        _log.warning("a payload could not be read from the server's file path=%s", place.path)
        return None

    def close(self) -> None:
        """Give the staging file back. Views that are in use stay valid."""
        self._staging.close()
        self._reels.close()
