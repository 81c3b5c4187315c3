"""What pools use, counted from the files on the disk: the oracle of what the memory books."""

import re
from collections import defaultdict
from pathlib import Path

from memory_service.store.bases import bases_of
from memory_service.store.scan import FileSource, scan

LINK = re.compile(r"(?P<video>.+)\.[0-9a-f]+\.base[0-9]+")


def end_of(path: Path) -> int:
    """Where the records of a reel end, whatever space lies behind them."""
    with path.open("rb") as file:
        return scan(path, FileSource(file.fileno()), verify_all=False).end


def held(data_dir: Path) -> dict[str, tuple[int, int]]:
    """Bytes and videos of each pool by its files.

    A file is counted once per pool: whole where its video is or where only forks keep it, and as far as it is
    used where it is a video of another pool.
    """
    reels = {path.stat().st_ino: path for path in data_dir.glob("*/*.reel")}
    num_bytes: dict[str, int] = defaultdict(int)
    num_videos: dict[str, int] = defaultdict(int)
    for path in reels.values():
        num_bytes[path.parent.name] += end_of(path)
        num_videos[path.parent.name] += 1
    shared: dict[tuple[str, int], int] = {}
    for path in data_dir.glob("*/*.base*"):
        pool, inode = path.parent.name, path.stat().st_ino
        home = reels.get(inode)
        if home is None:
            shared[pool, inode] = end_of(path)
        elif home.parent.name != pool:
            found = LINK.fullmatch(path.name)
            assert found
            used = dict(bases_of(path.with_name(f"{found['video']}.reel")))[path].end
            shared[pool, inode] = max(used, shared.get((pool, inode), 0))
    for (pool, _), size in shared.items():
        num_bytes[pool] += size
    return {pool: (num_bytes[pool], num_videos[pool]) for pool in num_bytes}
