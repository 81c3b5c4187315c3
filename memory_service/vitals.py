"""The state of an engine's open videos, for whoever watches over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memory_service.errors import ServiceError
from memory_service.types import Embeddings, Retrieval, VideoKey
from memory_service.video import Video
from memory_service.videos import Videos


@dataclass(frozen=True, slots=True)
class Vitals:
    """What an examination found.

    `opened` and `cooled` count videos since the start, `torn_tails` the recoveries of reels that were not
    closed cleanly. `undurable_frames` of open videos are kept but not fsync'ed yet, and the one that waits
    longest has waited `oldest_undurable_s`. `failed_reels` refuse appends after a failed write or commit.
    `shared_bytes` of other reels are read by open forks. `redundancy` is the mean pairwise cosine of the
    frames chosen together, averaged over the retrievals looked at; None where none could be.
    """

    opened: int
    cooled: int
    torn_tails: int
    undurable_frames: int
    oldest_undurable_s: float
    failed_reels: int
    shared_bytes: int
    redundancy: float | None


def examine(videos: Videos, oldest_undurable_s: float, recent: Sequence[Retrieval]) -> Vitals:
    """Look at every open video; those that end meanwhile are left out."""
    open_videos = {video.key: video for video in videos.open_videos()}
    undurable = 0
    for video in open_videos.values():
        try:
            state = video.info().state
        except ServiceError:
            continue
        undurable += state.length - state.durable
    return Vitals(
        opened=videos.opened,
        cooled=videos.cooled,
        torn_tails=len(videos.recoveries),
        undurable_frames=undurable,
        oldest_undurable_s=oldest_undurable_s,
        failed_reels=sum(video.failed for video in open_videos.values()),
        shared_bytes=sum(video.shared_bytes for video in open_videos.values()),
        redundancy=_mean_redundancy(open_videos, recent),
    )


def redundancy(rows: Embeddings) -> float:
    """Mean cosine over all pairs of m >= 2 rows, float [m, D]; 1 where all show the same.

    For unit rows u_i, |sum u_i|^2 = m + sum over i != j of u_i . u_j, which needs no m x m matrix.
    """
    unit = rows.astype(np.float64)
    unit /= np.sqrt((unit * unit).sum(axis=1, keepdims=True))
    total, m = unit.sum(axis=0), len(unit)
    return float((total @ total - m) / (m * (m - 1)))


def _mean_redundancy(open_videos: Mapping[VideoKey, Video], recent: Sequence[Retrieval]) -> float | None:
    found = []
    for retrieval in recent:
        video = open_videos.get(retrieval.key)
        if video is None or retrieval.videos or len(retrieval.frames) < 2:
            continue
        try:
            found.append(redundancy(video.embeddings(retrieval.frames)))
        except ServiceError:  # truncated or dropped since
            continue
    return sum(found) / len(found) if found else None
