"""Forks, truncations, seals and transfers of the engine: failing disks, threads, readers, events."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import KEY, SPEC, assert_frames, block, handle, latents, query, state

from memory_service.engine import MemoryEngine
from memory_service.errors import Exhausted, Fenced, NotFound, OutOfOrder, ServiceError, Unavailable
from memory_service.types import EventKind, VideoKey

FORK = VideoKey("pool", "fork")
COPY = VideoKey("pool", "copy")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(data_dir: Path) -> Iterator[MemoryEngine]:
    """KEY with frames [0, 6)."""
    memory = MemoryEngine(data_dir, commit_interval_s=0.01)
    memory.create_video(KEY, SPEC)
    for start in (0, 3):
        memory.append(KEY, block(start))
    yield memory
    memory.close()


def failing(code: int) -> Any:
    def fail(*arguments: Any) -> Any:  # noqa: ARG001
        raise OSError(code, os.strerror(code))

    return fail


class TestFailingDisk:
    @pytest.mark.parametrize("verb", ["create", "fork", "import"])
    def test_a_scratch_name_that_stays_leaves_no_video(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        reel = b"".join(engine.export_video(KEY))
        used, unlink = engine.get_pool(KEY.pool).usage, os.unlink

        def fail(path: Any, **options: Any) -> None:
            if Path(path).name.endswith(".new") and Path(path).parent.name == KEY.pool:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            unlink(path, **options)

        verbs: dict[str, Callable[[], object]] = {
            "create": lambda: engine.create_video(FORK, SPEC),
            "fork": lambda: engine.fork_video(KEY, FORK),
            "import": lambda: engine.import_video(FORK, [reel]),
        }
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", fail)
            with pytest.raises(Unavailable) as error:
                verbs[verb]()
        assert error.value.details["errno"] == "EIO"
        with pytest.raises(NotFound):
            engine.get_video(FORK)
        assert engine.get_pool(KEY.pool).usage.num_videos == used.num_videos
        assert not list(data_dir.glob("pool/fork*"))
        verbs[verb]()
        assert state(engine, FORK).length == (0 if verb == "create" else 6)

    def test_links_of_a_fork_stay_until_its_drop_is_durable(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A loss of power may bring back the fork, and it needs them then."""
        engine.fork_video(KEY, FORK)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing(errno.EIO))
            for _ in range(2):
                with pytest.raises(Unavailable):
                    engine.drop_video(FORK)
                assert len(list(data_dir.glob("pool/*.base0"))) == 1
                with pytest.raises(NotFound):
                    engine.get_video(FORK)
        assert engine.get_pool(KEY.pool).usage.num_videos == 1
        with pytest.raises(NotFound):
            engine.drop_video(FORK)
        assert not list(data_dir.glob("pool/*.base0"))

    @pytest.mark.parametrize("verb", ["truncate", "seal", "fork", "import"])
    def test_a_full_disk_changes_nothing(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        reel = b"".join(engine.export_video(KEY))
        epoch = state(engine).epoch
        files = {path for path in data_dir.rglob("*") if not path.name.startswith(".")}
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwritev", failing(errno.ENOSPC))
            patched.setattr(os, "link", failing(errno.ENOSPC))
            with pytest.raises(Exhausted) as error:
                {
                    "truncate": lambda: engine.truncate_video(KEY, 2),
                    "seal": lambda: engine.seal_video(KEY),
                    "fork": lambda: engine.fork_video(KEY, FORK),
                    "import": lambda: engine.import_video(COPY, [reel]),
                }[verb]()
            assert error.value.details["errno"] == "ENOSPC"
        assert {path for path in data_dir.rglob("*") if not path.name.startswith(".")} == files
        assert (state(engine).epoch, state(engine).length) == (epoch, 6)
        assert engine.append(KEY, block(6), epoch=epoch).state.length == 9
        assert_frames(engine, 0, 9)

    @pytest.mark.parametrize("verb", ["truncate", "seal"])
    def test_what_cannot_be_made_durable_is_not_answered(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        epoch = state(engine).epoch
        verbs = {
            "truncate": lambda: engine.truncate_video(KEY, 2, epoch=epoch),
            "seal": lambda: engine.seal_video(KEY),
        }
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", failing(errno.EIO))
            for _ in range(2):
                with pytest.raises(Unavailable):
                    verbs[verb]()
        with pytest.raises(Unavailable):
            verbs[verb]()
        with pytest.raises(Unavailable):
            engine.close()
        memory = MemoryEngine(data_dir)
        info = memory.get_video(KEY)
        assert (info.state.length, info.sealed) in (
            (6, False),
            (2, False) if verb == "truncate" else (6, True),
        )
        assert info.state.durable == info.state.length
        memory.close()


class TestThreads:
    def test_writers_meet_truncations(self, engine: MemoryEngine) -> None:
        """Whatever happens at once: frames are those of their numbers, and no fenced writer gets one in."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def write() -> None:
            try:
                while not stop.is_set():
                    now = state(engine)
                    start = now.length
                    while not stop.is_set():
                        try:
                            answer = engine.append(KEY, block(start), epoch=now.epoch, sync=start % 2 == 0)
                        except (Fenced, OutOfOrder):
                            break
                        start = answer.state.length if answer.state.epoch == now.epoch else start + 3
            except BaseException as exc:
                failures.append(exc)

        def read() -> None:
            rng = np.random.default_rng(0)
            try:
                while not stop.is_set():
                    hits = engine.search(KEY, [query(5, like=int(rng.integers(20)))], log=False).hits[0]
                    for hit in hits:
                        try:
                            (frame,) = engine.fetch([hit.handle])
                        except NotFound:
                            continue
                        assert bytes(frame.parts["latent"]) == latents(hit.handle.frame, 1)[0]
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=target) for target in (write, write, read)]
        for thread in threads:
            thread.start()
        rng = np.random.default_rng(1)
        for number in range(60):
            length = state(engine).length
            engine.truncate_video(KEY, int(rng.integers(0, length + 1)) if length < 60 else 0)
            if number % 10 == 0:
                engine.fork_video(KEY, VideoKey("pool", f"fork-{number}"))
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        for info in engine.list_videos("pool"):
            hits = engine.search(info.key, [query(999, like=0)], log=False).hits[0]
            got = engine.fetch(sorted((hit.handle for hit in hits), key=lambda one: one.frame))
            assert [bytes(frame.parts["latent"]) for frame in got] == latents(0, info.state.length)

    def test_one_of_two_equal_forks_makes_it(self, engine: MemoryEngine) -> None:
        results: list[object] = []

        def fork() -> None:
            try:
                results.append(engine.fork_video(KEY, FORK, length=3).state.epoch)
            except ServiceError as exc:
                results.append(exc)

        threads = [threading.Thread(target=fork) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [state(engine, FORK).epoch] * 8

    def test_an_export_is_of_one_moment(self, engine: MemoryEngine) -> None:
        """What happens while a slow reader takes its chunks is not in it."""
        for start in range(6, 60, 3):
            engine.append(KEY, block(start))
        chunks = engine.export_video(KEY)
        first = next(chunks)
        engine.truncate_video(KEY, 1)
        engine.append(KEY, block(1, 4))
        assert engine.import_video(COPY, [first, *chunks]).state.length == 60
        assert_frames(engine, 0, 60, COPY)

    def test_an_export_of_a_video_that_is_dropped(self, engine: MemoryEngine) -> None:
        chunks = engine.export_video(KEY)
        data = next(chunks)
        engine.drop_video(KEY)
        data += b"".join(chunks)
        assert engine.import_video(COPY, [data]).state.length == 6


class TestReaders:
    def test_a_directory_in_use_is_read_beside_its_writer(self, engine: MemoryEngine, data_dir: Path) -> None:
        old = [handle(engine, frame) for frame in range(6)]
        engine.fork_video(KEY, FORK, length=3)
        engine.append(FORK, block(3))
        engine.truncate_video(KEY, 4)
        engine.seal_video(KEY)
        reader = MemoryEngine.open_read_only(data_dir)
        assert_frames(reader, 0, 6, FORK)
        assert len(reader.fetch(old[:4])) == 4
        with pytest.raises(NotFound):
            reader.fetch(old[4:])
        assert reader.get_video(KEY).sealed
        assert b"".join(reader.export_video(FORK)) == b"".join(engine.export_video(FORK))
        reader.close()

    def test_a_reader_changes_nothing(self, engine: MemoryEngine, data_dir: Path) -> None:
        reader = MemoryEngine.open_read_only(data_dir)
        for verb in (
            lambda: reader.fork_video(KEY, FORK),
            lambda: reader.truncate_video(KEY, 0),
            lambda: reader.seal_video(KEY),
            lambda: reader.import_video(COPY, reader.export_video(KEY)),
            lambda: next(reader.append_stream(KEY, [block(6)])),
        ):
            with pytest.raises(Unavailable, match="reading only"):
                verb()
        reader.close()
        assert_frames(engine, 0, 6)


def test_a_closed_memory_answers_nothing(engine: MemoryEngine, data_dir: Path) -> None:
    reel = b"".join(engine.export_video(KEY))
    engine.close()
    for verb in (
        lambda: engine.fork_video(KEY, FORK),
        lambda: engine.truncate_video(KEY, 0),
        lambda: engine.seal_video(KEY),
        lambda: engine.import_video(COPY, [reel]),
        lambda: next(engine.export_video(KEY)),
        lambda: next(engine.append_stream(KEY, [block(6)])),
    ):
        with pytest.raises(Unavailable, match="closed"):
            verb()
    assert not list(data_dir.rglob("*.new"))


def test_whoever_watches_is_told(engine: MemoryEngine) -> None:
    watching = engine.watch("pool")
    fork = engine.fork_video(KEY, FORK)
    engine.fork_video(KEY, FORK)
    epoch = fork.state.epoch
    cut = engine.truncate_video(FORK, 2, epoch=epoch)
    engine.truncate_video(FORK, 2, epoch=epoch)
    with pytest.raises(Fenced):
        engine.append(FORK, block(2), epoch=epoch)
    engine.seal_video(FORK)
    engine.seal_video(FORK)
    copy = engine.import_video(COPY, engine.export_video(FORK))
    engine.drop_video(COPY)
    seen = []
    for event in watching:
        seen.append((event.kind, event.key, event.state and (event.state.epoch, event.state.length)))
        if event.kind is EventKind.DROPPED:
            break
    watching.close()
    assert seen == [
        (EventKind.WATCHING, None, None),
        (EventKind.FORKED, FORK, (epoch, 6)),
        (EventKind.TRUNCATED, FORK, (cut.state.epoch, 2)),
        (EventKind.FENCED, FORK, (cut.state.epoch, 2)),
        (EventKind.SEALED, FORK, (cut.state.epoch, 2)),
        (EventKind.IMPORTED, COPY, (copy.state.epoch, 2)),
        (EventKind.DROPPED, COPY, None),
    ]
