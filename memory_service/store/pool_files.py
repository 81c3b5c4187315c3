"""Pools on disk: a directory each, with its spec in `.pool` and its videos beside it."""

import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from memory_service.boundary.validate import is_id
from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss, Unavailable
from memory_service.store.bases import LINK, bases_of, remove_links
from memory_service.store.directory import sync_directory
from memory_service.store.failures import storage_error
from memory_service.store.pool_directory import pool_directory
from memory_service.store.tails import give_back, may_have_tail
from memory_service.types import PoolSpec

_log = logging.getLogger(__name__)

_SPEC = ".pool"
"""Not a valid video id with its suffix, so that no video can collide with it."""

_REEL = ".reel"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Held:
    """One file of a pool that holds records: its name, size and inode, and how many names the inode has."""

    name: str
    num_bytes: int
    inode: int
    num_links: int

    @property
    def is_reel(self) -> bool:
        """Whether it is a video; otherwise it is what a fork shares."""
        return self.name.endswith(_REEL)

    @property
    def video(self) -> str:
        """The video whose reel it is, or the fork that shares it."""
        return self.name.removesuffix(_REEL) if self.is_reel else self.name.rsplit(".", 2)[0]


class PoolFiles:
    """The pools of one data directory. Names have been validated. The caller serialises changes of each."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir

    def names(self) -> list[str]:
        """All pools, by name. Raises Unavailable."""
        try:
            with os.scandir(self._root) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if is_id(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except OSError as exc:
            raise storage_error(f"data directory {self._root} cannot be listed", exc) from exc

    def spec(self, pool: str) -> PoolSpec | None:
        """The spec of a pool; None where it has none. Raises DataLoss, Unavailable."""
        path = pool_directory(self._root, pool) / _SPEC
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise storage_error(f"spec {path} cannot be read", exc) from exc
        try:
            held = json.loads(text)
            version, spec, checksum = held["version"], held["spec"], held["crc32c"]
            if version != _VERSION:
                raise Unavailable(f"spec {path} needs a newer reader", expected=f"version {_VERSION}")
            if checksum == crc32c(_canonical(spec)):
                return PoolSpec(**spec)
        except (ValueError, KeyError, TypeError):
            pass
        raise DataLoss(
            f"the spec of pool {pool} is damaged: {path}", field="pool", expected="UpdatePool with its spec"
        )

    def write(self, pool: str, spec: PoolSpec) -> None:
        """Create the pool with that spec, or replace its spec; durable. Raises Exhausted, Unavailable."""
        folder = pool_directory(self._root, pool)
        try:
            if folder.is_dir():
                self._replace(folder, spec)
            else:
                self._create(folder, spec)
        except OSError as exc:
            raise storage_error(f"spec of pool {pool} cannot be written", exc) from exc

    def remove(self, pool: str) -> None:
        """Remove the directory of a pool without videos; durable. Raises Unavailable."""
        folder = pool_directory(self._root, pool)
        held = list(self.held(pool))
        try:
            if held and not any(one.is_reel for one in held):
                sync_directory(folder)  # what forks shared goes when the forks are gone for good
                remove_links(folder / one.name for one in held)
            foreign = sorted(set(os.listdir(folder)) - {_SPEC})
            if foreign:
                raise Unavailable(
                    f"pool {pool} cannot be removed: {folder / foreign[0]} is there",
                    field="pool",
                    expected="nothing in its directory but what the memory has put there",
                )
            with suppress(FileNotFoundError):
                (folder / _SPEC).unlink()
            folder.rmdir()
            sync_directory(self._root)
        except OSError as exc:
            raise storage_error(f"pool {pool} cannot be removed", exc) from exc

    def held(self, pool: str) -> Iterator[Held]:
        """The files that hold records, in no order, without opening any. Raises Unavailable."""
        try:
            with os.scandir(pool_directory(self._root, pool)) as entries:
                for entry in entries:
                    name = entry.name
                    if not (name.endswith(_REEL) or LINK.fullmatch(name)):
                        continue
                    with suppress(FileNotFoundError):
                        stat = entry.stat(follow_symlinks=False)
                        held = Held(name, stat.st_size, stat.st_ino, stat.st_nlink)
                        if is_id(held.video):
                            yield held
        except FileNotFoundError:
            return
        except OSError as exc:
            raise storage_error(f"pool {pool} cannot be listed", exc) from exc

    def given_back(self, pool: str, held: Held) -> int:
        """Size of a file that nobody has open, after what was allocated behind its records was cut."""
        if not may_have_tail(held.num_bytes):
            return held.num_bytes
        try:
            return give_back(self._root / pool / held.name, held.num_bytes)
        except OSError as exc:
            _log.error("space not given back pool=%s file=%s reason=%s", pool, held.name, exc.strerror)
            return held.num_bytes

    def used_bytes(self, pool: str, link: Held) -> int:
        """How many bytes of the file behind a link its fork uses; all of them where that cannot be read."""
        reel = self._root / pool / f"{link.video}{_REEL}"
        ends = {path.name: base.end for path, base in bases_of(reel)}
        return ends.get(link.name, link.num_bytes)

    def _create(self, folder: Path, spec: PoolSpec) -> None:
        """All of it or nothing: the directory appears with its spec."""
        aside = self._root / f".{secrets.token_hex(16)}.new"
        aside.mkdir()
        try:
            _write(aside / _SPEC, spec)
            sync_directory(aside)
            aside.rename(folder)
        except BaseException:
            with suppress(FileNotFoundError):
                (aside / _SPEC).unlink()
            with suppress(FileNotFoundError):
                aside.rmdir()
            raise
        sync_directory(self._root)

    def _replace(self, folder: Path, spec: PoolSpec) -> None:
        aside = folder / f".{secrets.token_hex(16)}.new"
        try:
            _write(aside, spec)
            aside.replace(folder / _SPEC)
        finally:
            with suppress(FileNotFoundError):
                aside.unlink()
        sync_directory(folder)


def _write(path: Path, spec: PoolSpec) -> None:
    values = asdict(spec)
    held = {"version": _VERSION, "spec": values, "crc32c": crc32c(_canonical(values))}
    with path.open("x", encoding="ascii") as file:
        file.write(json.dumps(held) + "\n")
        file.flush()
        os.fdatasync(file.fileno())


def _canonical(spec: dict[str, int]) -> bytes:
    return json.dumps(spec, sort_keys=True).encode()
