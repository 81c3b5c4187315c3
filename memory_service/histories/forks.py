"""Forking a video: a new one that begins with the frames of another, none of them copied."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from memory_service.errors import AlreadyExists, Fenced, NotFound
from memory_service.histories.epochs import new_epoch
from memory_service.store.files import FileStore
from memory_service.types import EventKind, Parent, VideoInfo, VideoKey, VideoState
from memory_service.video import Video
from memory_service.videos import Videos


class Forks:
    """Makes forks. Safe for threads; arguments have been validated."""

    def __init__(self, videos: Videos, store: FileStore) -> None:
        self._videos = videos
        self._store = store

    def fork(
        self,
        parent: VideoKey,
        key: VideoKey,
        length: int | None,
        epoch: int | None,
        metadata: Mapping[str, str] | None,
    ) -> VideoInfo:
        """See `Memory.fork_video`. The time that it takes does not depend on the size of payloads."""
        if length is not None and epoch is not None:
            there = self._there(key)
            if there is not None and there.parent == Parent(parent, epoch, length):
                return _checked(there, parent, metadata)
        with self._parent(parent) as video:
            branch = video.branch(length, epoch=epoch)
            if parent == key:
                raise _other(key)
            spec = replace(video.spec, metadata=dict(metadata)) if metadata else video.spec
            state = VideoState(new_epoch(), branch.lineage.parent.length, branch.lineage.parent.length)
            new = VideoInfo(key, spec, state, time.time_ns() // 1_000_000, branch.lineage.parent)
            num_bytes = self._store.new_bytes(new, branch.lineage)
            there, _ = self._videos.get_or_make(
                key, EventKind.FORKED, num_bytes, lambda: self._store.fork(new, branch), branch.shared
            )
        if there.parent != new.parent:
            raise _other(key)
        return _checked(there, parent, metadata)

    def _there(self, key: VideoKey) -> VideoInfo | None:
        try:
            with self._videos.use(key) as video:
                return video.info()
        except NotFound:
            return None

    @contextmanager
    def _parent(self, key: VideoKey) -> Iterator[Video]:
        """The parent, which stays open; errors about it name the request's fields."""
        fields = {"key": "parent", "epoch": "parent_epoch"}
        try:
            with self._videos.use(key) as video:
                yield video
        except (NotFound, Fenced) as exc:
            exc.field = fields.get(exc.field, exc.field)
            raise


def _checked(there: VideoInfo, parent: VideoKey, metadata: Mapping[str, str] | None) -> VideoInfo:
    """Raises AlreadyExists where other metadata were asked for than the fork has."""
    if metadata and there.spec.metadata != dict(metadata):
        raise AlreadyExists(
            f"the fork {there.key} of {parent} is there",
            field="metadata",
            expected=str(there.spec.metadata),
        )
    return there


def _other(key: VideoKey) -> AlreadyExists:
    return AlreadyExists(
        f"video {key} is there, and is not this fork",
        field="key",
        expected="a new name, or the parent, epoch and length of the fork that is there",
    )
