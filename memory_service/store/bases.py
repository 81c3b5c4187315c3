"""The reels that a fork continues: hard links beside its own reel, so that it outlives what it came from.

The links of the reel `<video>.reel` are `<video>.<first epoch, hex>.base<i>`, the oldest is number 0. The
file behind a link may grow, and be cut behind what is used of it: only its first `base.end` bytes count.
"""

import logging
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memory_service.errors import DataLoss, NotFound
from memory_service.pooling.shares import SharedReel
from memory_service.records import Base, Lineage, unpack_fork
from memory_service.reel import Damaged, Kind, Unsupported, decode_prefix, decode_record
from memory_service.store.scan import FileSource, open_regular

_log = logging.getLogger(__name__)

LINK = re.compile(r"(?P<video>.+)\.(?P<epoch>[0-9a-f]{1,13})\.base[0-9]+")
"""The name of a link, in full."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Where a fork leaves its parent: its lineage, and the path and inode of each base's reel."""

    lineage: Lineage
    sources: tuple[tuple[Path, int], ...]

    @property
    def shared(self) -> tuple[SharedReel, ...]:
        """The reels that the fork will share; the last is the parent's own, or one that the parent shares."""
        return tuple(
            SharedReel(inode, base.end, base.end, path.parent.name if path.suffix == ".reel" else None)
            for (path, inode), base in zip(self.sources, self.lineage.bases, strict=True)
        )


def link_path(reel: Path, epoch: int, number: int) -> Path:
    """The link to base `number` of the fork whose reel file is `reel` and whose first epoch is `epoch`."""
    return reel.with_name(f"{reel.stem}.{epoch:x}.base{number}")


def link_bases(reel: Path, epoch: int, branch: Branch) -> list[Path]:
    """Link all bases of a fork, or none. Raises NotFound where the parent is gone by now, OSError."""
    links: list[Path] = []
    try:
        for number, (source, inode) in enumerate(branch.sources):
            link = link_path(reel, epoch, number)
            os.link(source, link)
            links.append(link)
            if link.stat().st_ino != inode:
                raise FileNotFoundError(source)
    except OSError as exc:
        remove_links(links)
        if isinstance(exc, FileNotFoundError):
            raise NotFound(
                f"video {branch.lineage.parent.key} was dropped meanwhile",
                field="parent",
                expected="a video that is there",
            ) from exc
        raise
    return links


def links_of(reel: Path) -> list[Path]:
    """The links of a reel file, from its first records; none where these cannot be read."""
    return [link for link, _ in bases_of(reel)]


def bases_of(reel: Path) -> list[tuple[Path, Base]]:
    """The links of a reel file, and what of each it uses; none where its first records cannot be read."""
    try:
        fd = open_regular(reel, os.O_RDONLY)
    except (OSError, DataLoss):
        return []
    try:
        source = FileSource(fd)
        epoch, bases = 0, tuple[Base, ...]()
        with suppress(OSError, Damaged, Unsupported):
            if (first := decode_prefix(source, 0)) is not None:
                epoch = first.epoch
                second = decode_prefix(source, first.record_bytes)
                if second is not None and second.kind == Kind.FORK:
                    bases = unpack_fork(decode_record(source, first.record_bytes, second)).bases
    finally:
        os.close(fd)
    return [(link_path(reel, epoch, number), base) for number, base in enumerate(bases)]


def remove_links(links: Iterable[Path]) -> None:
    """Remove links; one that cannot be removed is logged, and left to the next start."""
    for link in links:
        try:
            link.unlink(missing_ok=True)
        except OSError as exc:
            _log.warning("link not removed path=%s reason=%s", link, exc.strerror)


def remove_orphans(pool: Path, names: Iterable[str]) -> None:
    """Remove the links among the `names` of a pool's files that no reel uses: leftovers of a crash."""
    epochs: dict[str, int | None] = {}
    for name in names:
        if (found := LINK.fullmatch(name)) is None:
            continue
        video = found["video"]
        if video not in epochs:
            epochs[video] = _first_epoch(pool / f"{video}.reel")
        if epochs[video] not in (None, int(found["epoch"], 16)):
            remove_links([pool / name])


def _first_epoch(reel: Path) -> int | None:
    """The epoch of a reel's first record: 0 where there is no reel, None where it cannot be told."""
    try:
        fd = open_regular(reel, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    except (OSError, DataLoss):
        return None
    try:
        prefix = decode_prefix(FileSource(fd), 0)
        return None if prefix is None else prefix.epoch
    except (OSError, Damaged, Unsupported):
        return None
    finally:
        os.close(fd)
