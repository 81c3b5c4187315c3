"""The client's end of the local path: messages that name places in files instead of carrying payloads."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import numpy as np

from memory_service.crc32c import crc32c
from memory_service.local.reels import MappedReels
from memory_service.local.staging import Places, Staging
from memory_service.types import Buffer, ReelExtent
from memory_service.v1 import memory_pb2 as pb

_log = logging.getLogger(__name__)


class LocalPath:
    """A staging file and the mapped reels of one server. Safe for threads."""

    def __init__(self, session: str, socket_path: str, staging: Staging, reels: MappedReels) -> None:
        self.session = session
        self.socket_path = socket_path
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
            return cls(answer.session, answer.socket_path, staging, MappedReels(Path(answer.data_dir)))
        except OSError as exc:
            staging.close()
            _log.info("no local path reason=%s", exc)
            return None

    def staged(self, payloads: Sequence[Buffer]) -> AbstractContextManager[Places | None]:
        """Where the payloads lie while inside the `with`; None where they have no room."""
        return self._staging.staged(payloads)

    def read(self, place: ReelExtent, crc: int) -> Buffer | None:
        """The verified bytes at a place, as a view of the server's file; None where they cannot be had here.

        Whoever asks then has them sent by message, and the server says what is wrong.
        """
        try:
            view = self._reels.view(place)
        except OSError:
            view = None
        if view is not None and _crc32c_cold(view) == crc:
            return view
        _log.warning("a payload could not be read from the server's file path=%s", place.path)
        return None

    def close(self) -> None:
        """Give the staging file back. Views that are in use stay valid."""
        self._staging.close()
        self._reels.close()


def _crc32c_cold(view: memoryview) -> int:
    """CRC-32C of bytes that are in no cache: they are read through in order first.

    The checksum reads three places at once, which no processor foresees: 200 KB take 35 us, this way 21.
    """
    if len(view):
        np.frombuffer(view, np.uint8).max()
    return crc32c(view)


def read_of(path: LocalPath | None) -> Callable[[ReelExtent, int], Buffer | None]:
    """How places in answers are read; without a path there are none."""
    return (lambda _place, _crc: None) if path is None else path.read
