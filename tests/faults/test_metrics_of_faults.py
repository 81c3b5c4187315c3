"""What the metrics say while a disk is slow, full or broken: what alerts and runbook are about."""

import errno
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from injection import SYNCS, WRITES, Call, Injector
from prometheus_client.parser import text_string_to_metric_families
from samples import KEY, SPEC, assert_frames, block
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import Exhausted, Unavailable

SOON_S = 20.0
Samples = dict[str, float]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Watched:
    """A server whose disk the injector steers, and its metrics."""

    def __init__(self, folder: Path, injector: Injector) -> None:
        self.metrics = free_address()
        self._start = (folder / "data", "127.0.0.1:0", "--metrics-address", self.metrics)
        self._environment = dict(injector.environment)
        self.server = self.start()

    def start(self) -> ServerProcess:
        return ServerProcess(*self._start, env=self._environment)

    def samples(self) -> Samples:
        """Values by name, summed over labels other than those in the name."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=SOON_S) as answer:
            text = answer.read().decode()
        found: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("reverie_memory_")
                found[name] = found.get(name, 0.0) + sample.value
                labels = ",".join(sorted(sample.labels.values()))
                found[f"{name}:{labels}"] = sample.value
        return found

    def until(self, holds: Callable[[Samples], bool]) -> Samples:
        """The first metrics of which `holds` is true."""
        end = time.monotonic() + SOON_S
        while not holds(found := self.samples()):
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found


@pytest.fixture
def watched(tmp_path: Path, injector: Injector) -> Iterator[Watched]:
    running = Watched(tmp_path, injector)
    with MemoryClient(running.server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0), sync=True)
    yield running
    running.server.kill()


def test_a_slow_disk(watched: Watched, injector: Injector) -> None:
    before = watched.until(lambda now: now["undurable_frames"] == 0)
    rule = injector.delay(Call.FDATASYNC, 1.5, "*.reel", count=1)
    with MemoryClient(watched.server.address) as memory:
        memory.append(KEY, block(3))
        slow = watched.until(lambda now: now["undurable_seconds"] > 0.5)
        assert slow["undurable_frames"] == 3
        watched.until(lambda now: now["undurable_frames"] == 0 and now["undurable_seconds"] < 0.5)
    assert rule.fired == 1
    after = watched.samples()
    buckets = [
        (now["fdatasync_seconds_bucket:1.0"], now["fdatasync_seconds_count"]) for now in (before, after)
    ]
    assert buckets[1][1] - buckets[0][1] == buckets[1][0] - buckets[0][0] + 1, "one took more than a second"


def test_a_full_disk(watched: Watched, injector: Injector) -> None:
    injector.fail(WRITES, errno.ENOSPC, "*.reel")
    with MemoryClient(watched.server.address) as memory:
        with pytest.raises(Exhausted):
            memory.append(KEY, block(3))
        full = watched.samples()
        assert full["call_seconds_count:Append,RESOURCE_EXHAUSTED"] == 1
        assert full["failed_reels"] == 0
        assert_frames(memory, 0, 3)
        injector.clear()
        memory.append(KEY, block(3), sync=True)
        assert_frames(memory, 0, 6)
    assert watched.samples()["failed_reels"] == 0


def test_a_broken_disk_and_the_restart_of_the_runbook(watched: Watched, injector: Injector) -> None:
    injector.fail(SYNCS, errno.EIO, "*.reel")
    memory = MemoryClient(watched.server.address, timeout_s=3.0)
    memory.append(KEY, block(3))
    watched.until(lambda now: now["failed_reels"] == 1)
    with pytest.raises(Unavailable):
        memory.append(KEY, block(6))
    assert watched.samples()["call_seconds_count:Append,UNAVAILABLE"] >= 1
    with pytest.raises(Unavailable):
        memory.close()  # frames 3 to 6 are not durable, and it says so
    watched.server.kill()
    injector.clear()
    watched.server = watched.start()
    with MemoryClient(watched.server.address) as memory:
        assert_frames(memory, 0, 3)
        start = memory.get_video(KEY).state.length
        memory.append(KEY, block(start), sync=True)
    assert watched.samples()["failed_reels"] == 0
