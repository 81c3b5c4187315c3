"""One reel as a local file: appended in preallocated extents, mapped for reading, committed by fdatasync."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

from memory_service.errors import DataLoss, ServiceError, Unavailable
from memory_service.pooling.quota import Account
from memory_service.reel import (
    PREFIX_BYTES,
    Body,
    Damaged,
    Kind,
    Record,
    decode_prefix,
    decode_record,
    encode,
)
from memory_service.store.failures import storage_error
from memory_service.store.growing_file import GrowingFile
from memory_service.store.scan import FileSource, Scan, open_regular, rescan_from_disk, scan
from memory_service.store.syncs import fdatasync

_log = logging.getLogger(__name__)

_MARKS = frozenset(Kind) - {Kind.VIDEO, Kind.BLOCK, Kind.RETRIEVAL}
"""Records that say something about others: small, and never refused for want of quota."""

_RESTART = "a restart of the service once the disk works: what is on it is then read back and verified"


class ReelFile:
    """A verified reel that is open, as `open_reel` gives it. Safe for threads; its caller orders appends.

    `end` is the byte offset after the last record, `durable` the offset up to which fdatasync has succeeded.
    Once fdatasync has failed nobody knows what is on the disk: `failure` says why, the mark stands still and
    every later append is refused.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        size: int,
        found: Scan,
        *,
        extent_bytes: int,
        read_only: bool,
        account: Account | None = None,
    ) -> None:
        """`account` is where its bytes are booked; None where they are not counted."""
        self.path = path
        self.read_only = read_only
        self.failure: str | None = None
        self.end = found.end
        self.durable = min(found.durable, found.end)
        self._file = GrowingFile(fd, size, extent_bytes)
        self.inode = self._file.inode
        self._sequence = len(found.records)
        self._epoch = found.records[0].prefix.epoch
        self._to_commit = max(r.end for r in found.records if r.prefix.kind != Kind.COMMIT)
        self._tail = self._look_behind()
        self._account = account
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._book_end()

    @property
    def outdated(self) -> bool:
        """Whether another process has written to the file or replaced it since it was opened."""
        try:
            return os.stat(self.path).st_ino != self.inode or self._tail != self._look_behind()
        except OSError:
            return True

    @property
    def closed(self) -> bool:
        return self._file.closed

    def append(self, kind: Kind, header: dict[str, Any], body: Body | None = None) -> Record:
        """Add a record at the end; after the return it survives a crash of the process.

        Raises Exhausted when the quota or the disk is used up, Unavailable on any other failure; the reel is
        then as before.
        """
        with self._lock:
            if self._file.closed:
                raise Unavailable(f"reel {self.path} is closed", expected="a memory that is open")
            if self.failure is not None:
                raise Unavailable(f"reel {self.path} refuses appends since {self.failure}", expected=_RESTART)
            prefix, buffers = encode(
                kind, header, body or Body(), sequence=self._sequence, epoch=self._epoch, durable=self.durable
            )
            if self._account is not None:
                self._account.grow(prefix.record_bytes, mark=kind in _MARKS)
            try:
                self._file.write(buffers, self.end)
            except OSError as exc:
                self._wipe_after_end()
                self._book_end()
                raise storage_error(f"append to {self.path} failed", exc) from exc
            record = Record(self.end, prefix, header)
            self.end = record.end
            self._sequence += 1
            if kind != Kind.COMMIT:
                self._to_commit = self.end
            else:
                self._book_end()
            return record

    def check_size(self) -> None:
        """Raises DataLoss where somebody has cut the file: to touch what is gone would end the process.

        Called before each use of the reel, also of what was fetched from it before it was closed; an append
        would leave a hole behind what is left. Raises Unavailable where the size cannot be told.
        """
        end = self.end  # before the size: a record is written first and counts then
        try:
            size = self._file.size
        except OSError as exc:
            raise storage_error(f"reel {self.path} cannot be used", exc) from exc
        if size < end:
            raise DataLoss(
                f"reel {self.path} was cut to {size} bytes while it was in use",
                expected=f"its {end} bytes; restore the video from a backup, or drop it",
                details={"path": str(self.path), "offset": str(size)},
            )

    def view(self, offset: int, length: int) -> memoryview:
        """Read-only bytes of the file; valid while referenced, whatever happens to the reel.

        Raises Unavailable where they cannot be mapped.
        """
        stop = offset + length
        for start, end, _, data in self._file.segments:
            if start <= offset and stop <= end:
                return data[offset - start : stop - start]
        found = self._file.mapped(offset, length)
        if found is not None:
            return found
        with self._lock:
            if self._file.closed:
                raise Unavailable(f"reel {self.path} is closed", expected="a memory that is open")
            try:
                return self._file.view(offset, length)
            except OSError as exc:
                raise storage_error(f"reel {self.path} cannot be mapped", exc) from exc

    def record(self, offset: int) -> Record:
        """The record at `offset`, read again. Raises DataLoss."""
        try:
            prefix = decode_prefix(self.view(offset, PREFIX_BYTES), 0)
            assert prefix is not None
            return decode_record(self.view(offset, prefix.record_bytes), 0, prefix)._replace(offset=offset)
        except Damaged as exc:
            raise DataLoss(
                f"reel {self.path} is damaged at byte {offset}: {exc}",
                expected="the bytes that were written; restore the video from a backup, or drop it",
                details={"path": str(self.path), "offset": str(offset)},
            ) from exc

    def commit(self, upto: int | None = None) -> None:
        """Make all records, or at least those before byte `upto`, durable. Raises Exhausted, Unavailable.

        Callers that wait here together share one fdatasync.
        """
        with self._sync_lock:
            target = self.end
            if self.durable >= (self._to_commit if upto is None else upto):
                return
            if self.failure is not None:
                raise Unavailable(f"reel {self.path} cannot commit: {self.failure}", expected=_RESTART)
            if self._file.closed:
                if upto is None:
                    return
                raise Unavailable(f"reel {self.path} is closed", expected="a memory that is open")
            try:
                fdatasync(self._file.fd)
            except OSError as exc:
                self.failure = f"fdatasync failed: {exc.strerror}"
                _log.error(
                    "reel poisoned path=%s durable=%d reason=%s", self.path, self.durable, self.failure
                )
                raise storage_error(f"commit of {self.path} failed", exc) from exc
            self.durable = target
        self.note_commit()

    def note_commit(self) -> None:
        """Write down how far the reel is durable, so that damage before it is never taken for a torn tail.

        Best effort: the next record carries the mark as well.
        """
        try:
            self.append(Kind.COMMIT, {})
        except ServiceError as exc:
            _log.warning("commit not noted path=%s reason=%s", self.path, exc)

    def settle(self, *, torn: bool) -> None:
        """Bring the file of a former process into a known state: no torn tail, all of it durable."""
        try:
            if torn:
                self._file.cut(self.end)
        except OSError as exc:
            raise storage_error(f"the torn tail of {self.path} could not be cut", exc) from exc
        self.commit()

    def close(self) -> None:
        """Commit, give preallocated space back and release the file; views stay valid.

        Raises Exhausted, Unavailable.
        """
        try:
            if not self._file.closed and not self.read_only:
                self.commit()
                with self._sync_lock, self._lock:
                    self._trim()
        except OSError as exc:
            raise storage_error(f"close of {self.path} failed", exc) from exc
        finally:
            self.abandon()

    def give_back(self) -> None:
        """Give preallocated space back, as far as the disk lets it."""
        try:
            with self._sync_lock, self._lock:
                self._trim()
        except OSError as exc:
            _log.warning("space not given back path=%s reason=%s", self.path, exc.strerror)

    def abandon(self) -> None:
        """Release the file as it is."""
        with self._sync_lock, self._lock:
            self._file.close()

    def _trim(self) -> None:
        if self._file.allocated > self.end:
            self._file.cut(self.end)
            os.fdatasync(self._file.fd)
            self.durable = self.end

    def _look_behind(self) -> bytes:
        """What lies where the next record will."""
        return os.pread(self._file.fd, PREFIX_BYTES, self.end)

    def _book_end(self) -> None:
        """Book what is there, and a mark for what is not durable yet."""
        if self._account is not None:
            self._account.settle(self.end, mark_due=self._to_commit > self.durable)

    def _wipe_after_end(self) -> None:
        """Undo a partial write, so that no reader ever sees it."""
        try:
            self._file.cut(self.end)
        except OSError as exc:
            self.failure = f"a partial write could not be undone: {exc.strerror}"
            _log.error("reel poisoned path=%s end=%d reason=%s", self.path, self.end, self.failure)


def open_reel(
    path: Path,
    *,
    extent_bytes: int,
    read_only: bool = False,
    account: Account | None = None,
    verify_all: bool = True,
) -> tuple[ReelFile, Scan]:
    """Open and verify a reel; for writing also cut a torn tail and commit what a former process left.

    Raises DataLoss, Exhausted, Unavailable, and FileNotFoundError where there is none.
    """
    fd = open_regular(path, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        source = FileSource(fd)
        found = scan(path, source, verify_all=verify_all)
        if not read_only:
            found = rescan_from_disk(path, fd, found)
        reel = ReelFile(
            path,
            fd,
            len(source),
            found,
            extent_bytes=extent_bytes,
            read_only=read_only,
            account=account,
        )
        if not read_only:
            reel.settle(torn=found.recovery is not None)
    except BaseException:
        os.close(fd)
        raise
    if found.recovery is not None:
        _log.warning("torn tail cut %s", found.recovery)
    return reel, found
