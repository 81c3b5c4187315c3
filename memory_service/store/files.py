"""The data directory: `<data>/<pool>/<video>.reel`, and one lock for the process that may write to it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memory_service.boundary.validate import is_id
from memory_service.errors import AlreadyExists, DataLoss, NotFound
from memory_service.histories.outline import Outline
from memory_service.pooling.quota import Account
from memory_service.records import Lineage
from memory_service.store.base_reel import BaseReel, open_bases
from memory_service.store.bases import (
    Branch,
    link_bases,
    links_of,
    remove_links,
)
from memory_service.store.directory import NEW, locked, make_durably, sync_directory, tidy, write_durably
from memory_service.store.failures import storage_error
from memory_service.store.first_records import check_name, first_records
from memory_service.store.pool_directory import pool_directory
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
        self._links: dict[VideoKey, list[Path]] = {}
        try:
            if read_only:
                os.scandir(data_dir).close()
            else:
                make_durably(data_dir)
                self._lock_fd = locked(data_dir / _LOCK)
                tidy(data_dir)
        except OSError as exc:
            raise storage_error(f"data directory {data_dir} cannot be used", exc) from exc

    def create(self, info: VideoInfo) -> None:
        """Create a reel with its video record: all of it or nothing, and durable. Raises AlreadyExists."""
        with self.new_reel(info.key) as aside:
            write_durably(aside, first_records(info, None))

    def new_bytes(self, info: VideoInfo, lineage: Lineage | None = None) -> int:
        """Size of the reel that `create` makes, or `fork`."""
        return len(first_records(info, lineage))

    def fork(self, info: VideoInfo, branch: Branch) -> None:
        """Create the reel of a fork and the links to its bases: all of it or nothing, and durable.

        Raises AlreadyExists, and NotFound where the parent is gone.
        """
        links: list[Path] = []
        try:
            with self.new_reel(info.key) as aside:
                path = self._path(info.key)
                links = link_bases(path, info.state.epoch, branch)
                write_durably(aside, first_records(info, branch.lineage))
                sync_directory(path.parent)
        except BaseException:
            remove_links(links)
            raise

    @contextmanager
    def new_reel(self, key: VideoKey) -> Iterator[Path]:
        """A path at which to write the reel of a new video, and make it durable, within the `with`.

        Only then does it get its name: the video is there whole or not at all. Raises AlreadyExists, and
        what a failing disk raises.
        """
        path = self._path(key)
        named = False
        try:
            self._make_pool(path.parent)
            try:
                with self._scratch(path.parent) as aside:
                    yield aside
                    os.link(aside, path)
                    named = True
                sync_directory(path.parent)
            except OSError:
                if named:
                    path.unlink()
                raise
        except FileExistsError as exc:
            raise AlreadyExists(f"video {key} exists", field="key") from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be created", exc) from exc

    def adopt(self, reel: Path, key: VideoKey) -> None:
        """Make a durable file that is a reel the one of a new video. Raises AlreadyExists, Unavailable."""
        with self.new_reel(key) as aside:
            os.link(reel, aside)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A path for a file that is gone after the `with`, or after a crash when the next process starts."""
        with self._scratch(self._root) as aside:
            yield aside

    @contextmanager
    def _scratch(self, folder: Path) -> Iterator[Path]:
        aside = folder / f".{secrets.token_hex(16)}{NEW}"
        try:
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    def exists(self, key: VideoKey) -> bool:
        """Whether there is a video under that key, readable or not."""
        return os.path.lexists(self._path(key))

    def stat(self, key: VideoKey) -> os.stat_result:
        """Size and inode of a reel. Raises NotFound, Unavailable."""
        path = self._path(key)
        try:
            return path.stat(follow_symlinks=False)
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
        try:
            check_name(path, key, found)
        except DataLoss:
            reel.abandon()
            raise
        return reel, found

    def settle(self, key: VideoKey, account: Account) -> tuple[VideoInfo, Scan]:
        """Make durable what a former process left of a cold video; what was durable is not read again.

        Raises NotFound, DataLoss, Exhausted, Unavailable.
        """
        path = self._path(key)
        try:
            reel, found = open_reel(path, extent_bytes=self._extent_bytes, account=account, verify_all=False)
        except FileNotFoundError as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be settled", exc) from exc
        info = Outline.of(found.records).info(reel.durable, reel.end)
        reel.close()
        return info, found

    def bases(self, key: VideoKey, found: Scan) -> tuple[BaseReel, ...]:
        """What a fork shares, oldest first. Raises DataLoss, naming a base that is missing or damaged."""
        path = self._path(key)
        try:
            return open_bases(path, found)
        except OSError as exc:
            raise storage_error(f"the bases of {path} cannot be opened", exc) from exc

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
        check_name(path, key, found)
        return Outline.of(found.records).info(found.durable, found.end), found

    def drop(self, key: VideoKey, *, durably: bool = True) -> None:
        """Remove the name of a reel; with `durably`, `settle_drop` is to follow.

        Raises NotFound, Unavailable.
        """
        path = self._path(key)
        try:
            links = links_of(path)
            path.unlink()
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise not_found(key) from exc
        except OSError as exc:
            raise storage_error(f"reel {path} cannot be removed", exc) from exc
        if durably and links:
            self._links.setdefault(key, []).extend(links)

    def settle_drop(self, key: VideoKey) -> None:
        """Make durable that a reel has no name, and only then remove the links to its bases.

        Where this raises Unavailable, a loss of power may bring the video back: to be called again.
        """
        path = self._path(key)
        try:
            with suppress(FileNotFoundError, NotADirectoryError):  # the pool is gone as well
                sync_directory(path.parent)
        except OSError as exc:
            raise storage_error(f"the removal of {path} cannot be made durable", exc) from exc
        remove_links(self._links.pop(key, ()))

    def keys(self, pool: str, after: str = "") -> Iterator[VideoKey]:
        """The videos of a pool by name, those behind `after`; none for a pool that is not there."""
        try:
            names = os.listdir(pool_directory(self._root, pool))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            raise storage_error(f"pool {pool} cannot be listed", exc) from exc
        videos = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        for video in sorted(video for video in videos if video > after):
            if is_id(video):
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
        return pool_directory(self._root, key.pool) / f"{key.video}{_SUFFIX}"

    def _make_pool(self, pool: Path) -> None:
        if not pool.is_dir():
            pool.mkdir(exist_ok=True)
            sync_directory(self._root)


def not_found(key: VideoKey) -> NotFound:
    """The error for a video that is not there."""
    return NotFound(f"there is no video {key}", field="key", expected="a video that was created")
