"""The data directory: `<data>/<pool>/<video>.reel`, and one lock for the process that may write to it."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from memory_service.errors import AlreadyExists, Busy, DataLoss, NotFound, Unavailable
from memory_service.quota import Account
from memory_service.records import pack_video, unpack_video
from memory_service.reel import Body, Kind, encode
from memory_service.store.failures import storage_error
from memory_service.store.reel_file import ReelFile, open_reel
from memory_service.store.scan import FileSource, Scan, open_regular, scan
from memory_service.types import VideoInfo, VideoKey

_SUFFIX = ".reel"
_LOCK = ".lock"
"""Not a valid pool id, so that no pool can collide with it."""


_LOOKS_BESIDE_A_WRITER = 2


class FileStore:
    """The reels of one data directory. Keys must have been validated: a valid id cannot leave the directory.

    Safe for threads as long as calls for one video are serialised by the caller.
    """

    def __init__(self, data_dir: Path, *, extent_bytes: int, read_only: bool = False) -> None:
        """Create the directory and take its lock, unless `read_only`. Raises Busy, Unavailable."""
        self._root = data_dir
        self._extent_bytes = extent_bytes
        self._read_only = read_only
        self._lock_fd = -1
        try:
            if read_only:
                os.scandir(data_dir).close()
            else:
                _make_durably(data_dir)
                self._lock_fd = _locked(data_dir / _LOCK)
        except OSError as exc:
            raise storage_error(f"data directory {data_dir} cannot be used", exc) from exc

    def new_bytes(self, info: VideoInfo) -> int:
        """Size of the reel that `create` makes."""
        return len(_first_record(info))

    def create(self, info: VideoInfo) -> None:
        """Create a reel with its video record: all of it or nothing, and durable. Raises AlreadyExists."""
        path = self._path(info.key)
        aside = path.with_name(f".{secrets.token_hex(16)}.new")
        try:
            self._make_pool(path.parent)
            try:
                _write_durably(aside, _first_record(info))
                os.link(aside, path)
            finally:
                with suppress(FileNotFoundError):
                    aside.unlink()
            _sync_directory(path.parent)
        except FileExistsError as exc:
            raise AlreadyExists(f"video {info.key.pool}/{info.key.video} exists", field="key") from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be created", exc) from exc

    def size(self, key: VideoKey) -> int:
        """Size of the reel of a cold video in bytes. Raises NotFound, Unavailable."""
        path = self._path(key)
        try:
            return path.stat(follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be found", exc) from exc

    def open(self, key: VideoKey, account: Account | None = None) -> tuple[ReelFile, Scan]:
        """Open and verify the reel of a video; its bytes are booked in `account`.

        Raises NotFound, DataLoss, Unavailable.
        """
        path = self._path(key)
        try:
            reel, found = self._opened(path, account)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be opened", exc) from exc
        holds = unpack_video(found.records[0]).key
        if holds != key:
            reel.abandon()
            raise DataLoss(
                f"reel {path} holds video {holds.pool}/{holds.video}", field="key", expected="its own video"
            )
        return reel, found

    def peek(self, key: VideoKey) -> tuple[VideoInfo, Scan]:
        """A video's records without its payloads being read or its file changed.

        Raises NotFound, DataLoss, Unavailable.
        """
        path = self._path(key)
        try:
            with open(open_regular(path, os.O_RDONLY), "rb") as file:
                found = scan(path, FileSource(file.fileno()), verify_all=False)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be read", exc) from exc
        return unpack_video(found.records[0]), found

    def drop(self, key: VideoKey) -> None:
        """Remove a reel for good. Raises NotFound, Unavailable."""
        path = self._path(key)
        try:
            path.unlink()
            _sync_directory(path.parent)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be removed", exc) from exc

    def keys(self, pool: str, after: str = "") -> Iterator[VideoKey]:
        """The videos of a pool by name, those behind `after`; none for a pool that is not there."""
        try:
            with os.scandir(self._root / pool) as entries:
                names = [
                    name.removesuffix(_SUFFIX) for entry in entries if (name := entry.name).endswith(_SUFFIX)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            raise storage_error(f"pool {pool} cannot be listed", exc) from exc
        for video in sorted(name for name in names if name > after and not name.startswith(".")):
            yield VideoKey(pool, video)

    def close(self) -> None:
        """Release the lock; idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _opened(self, path: Path, account: Account | None) -> tuple[ReelFile, Scan]:
        """Open a reel; beside a writer, what looks like damage may be a record being written: look again."""
        for _ in range(_LOOKS_BESIDE_A_WRITER if self._read_only else 0):
            with suppress(DataLoss):
                return open_reel(path, extent_bytes=self._extent_bytes, read_only=True)
        return open_reel(path, extent_bytes=self._extent_bytes, read_only=self._read_only, account=account)

    def _path(self, key: VideoKey) -> Path:
        return self._root / key.pool / f"{key.video}{_SUFFIX}"

    def _make_pool(self, pool: Path) -> None:
        if not pool.is_dir():
            pool.mkdir(exist_ok=True)
            _sync_directory(self._root)


def _first_record(info: VideoInfo) -> bytes:
    _, buffers = encode(Kind.VIDEO, pack_video(info), Body(), sequence=0, epoch=info.state.epoch, durable=0)
    return b"".join(buffers)


def not_found(key: VideoKey) -> NotFound:
    """The error for a video that is not there."""
    return NotFound(
        f"there is no video {key.pool}/{key.video}", field="key", expected="a video that was created"
    )


def _locked(path: Path) -> int:
    """A descriptor that holds the lock on `path` until it is closed or the process ends. Raises Busy."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise Busy(f"data directory {path.parent} is in use by process {owner or 'unknown'}") from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        if file.write(data) != len(data):
            raise Unavailable(f"{path} was written in part")
        os.fdatasync(file.fileno())


def _make_durably(folder: Path) -> None:
    """Make a directory and those above it, so that a loss of power does not take a memory with its name."""
    if not folder.is_dir():
        _make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_directory(folder.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
