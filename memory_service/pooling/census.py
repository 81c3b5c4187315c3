"""What is in a data directory when it is opened: one walk, of which only the sums and the forks are kept."""

from collections.abc import Sequence

from memory_service.pooling.quota import Ledger
from memory_service.pooling.shares import SharedReel, Shares
from memory_service.store.pool_files import Held, PoolFiles
from memory_service.types import VideoKey


def take_census(
    files: PoolFiles, pools: Sequence[str], ledger: Ledger, shares: Shares, *, tidy: bool
) -> None:
    """Book all that the pools hold, whatever their quotas. No video is opened for it.

    `tidy` also gives space back that a process which ended too soon had allocated ahead. Raises Unavailable.
    """
    homes: dict[int, str] = {}
    links: list[tuple[str, Held]] = []
    for pool in pools:
        num_bytes = num_videos = 0
        for held in files.held(pool):
            if not held.is_reel:
                links.append((pool, held))
                continue
            num_bytes += files.given_back(pool, held) if tidy else held.num_bytes
            num_videos += 1
            if held.num_links > 1:
                homes[held.inode] = pool
        ledger.correct(pool, num_bytes, num_videos)
    forks: dict[VideoKey, list[SharedReel]] = {}
    for pool, held in links:
        home = homes.get(held.inode)
        num_bytes = files.given_back(pool, held) if tidy and home is None else held.num_bytes
        used_bytes = 0 if home in (None, pool) else files.used_bytes(pool, held)
        shared = SharedReel(held.inode, used_bytes, num_bytes, home)
        forks.setdefault(VideoKey(pool, held.video), []).append(shared)
    for key, reels in forks.items():
        shares.link(key, reels, refuse=False)
