"""Metrics as Prometheus reads them: over HTTP, from a server that is at work."""

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from samples import ALL, KEY, SPEC, block, latents

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import Busy, Fenced, InvalidArgument, NotFound
from memory_service.server import Server
from memory_service.store.reel_file import ReelFile
from memory_service.telemetry.collector import MAX_POOLS, OTHER_POOLS
from memory_service.types import Block, PoolSpec, Query, VideoKey

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    config = ServiceConfig(
        data_dir=tmp_path / "data",
        address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",
        max_hot_videos=2,
        commit_interval_s=0.02,
    )
    server = Server(config)
    server.start()
    yield server
    server.stop()


def exposition(server: Server) -> str:
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def scrape(server: Server) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition(server))
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples["reverie_memory_" + name, tuple(sorted(labels.items()))]


def eventually(server: Server, reached: Callable[[Samples], bool]) -> Samples:
    deadline = time.monotonic() + 10
    while not reached(samples := scrape(server)):
        assert time.monotonic() < deadline, samples
        time.sleep(0.02)
    return samples


def test_a_server_under_load_is_scraped(server: Server) -> None:
    num_writers, num_blocks = 4, 40
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with MemoryClient(server.address, cache_bytes=0) as memory:
                key = VideoKey(f"pool-{number % 2}", f"take-{number}")
                memory.create_video(key, SPEC)
                for start in range(0, 3 * num_blocks, 3):
                    memory.advance(key, block(start), Query(3, ALL))
        except BaseException as exc:
            failures.append(exc)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(num_writers)]
    for writer in writers:
        writer.start()
    scraped = [scrape(server)]
    while any(writer.is_alive() for writer in writers):
        scraped.append(scrape(server))
    for writer in writers:
        writer.join()
    assert not failures
    counts = [
        samples.get(("reverie_memory_call_seconds_count", (("method", "Advance"), ("status", "OK"))), 0.0)
        for samples in scraped
    ]
    assert counts == sorted(counts)
    samples = eventually(server, lambda now: value(now, "undurable_frames") == 0)
    total = num_writers * num_blocks
    assert value(samples, "call_seconds_count", method="Advance", status="OK") == total
    assert value(samples, "call_seconds_bucket", method="Advance", status="OK", le="+Inf") == total
    assert value(samples, "call_seconds_sum", method="Advance", status="OK") > 0
    assert value(samples, "received_bytes_total", method="Advance") > total * 3 * SPEC.latent_bytes
    assert value(samples, "sent_bytes_total", method="Advance") > total * 3 * SPEC.latent_bytes
    assert value(samples, "calls_running", method="Advance") == 0
    samples = eventually(server, lambda now: value(now, "calls_running", method="AdvanceStream") == 0)
    labels = [dict(of) for name, of in samples if name == "reverie_memory_call_seconds_count"]
    ends = [value(samples, "call_seconds_count", **of) for of in labels if of["method"] == "AdvanceStream"]
    assert sum(ends) == num_writers
    for direction in ("received", "sent"):
        assert value(samples, f"{direction}_bytes_total", method="AdvanceStream") == 0
    assert value(samples, "events_total", kind="appended") == total
    assert value(samples, "events_total", kind="retrieved") == total
    assert value(samples, "videos", state="all") == num_writers
    hot = value(samples, "videos", state="hot")
    assert value(samples, "opened_total") - value(samples, "cooled_total") == hot < num_writers
    assert sum(value(samples, "pool_hot_videos", pool=f"pool-{number}") for number in range(2)) == hot
    assert value(samples, "pool_videos", pool="pool-0") == 2
    on_disk = sum(path.stat().st_size for path in (server_data(server)).rglob("*.reel"))
    assert 0 < value(samples, "bytes", tier="reels") <= on_disk
    assert value(samples, "bytes", tier="index") >= 2 * 3 * num_blocks * SPEC.embedding_dim * 4
    assert value(samples, "fdatasync_seconds_count") > 0
    assert value(samples, "disk_free_bytes") > 0
    assert {labels for name, labels in samples if name == "reverie_memory_thread_alive"}
    assert all(alive == 1 for (name, _), alive in samples.items() if name.endswith("thread_alive"))
    assert "take-" not in exposition(server), "videos must not become labels"


def server_data(server: Server) -> Path:
    return server._config.data_dir


def test_errors_are_counted_by_what_they_were(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        state = memory.create_video(KEY, SPEC).state
        memory.append(KEY, block(0))
        memory.truncate_video(KEY, 0)
        with pytest.raises(Fenced):
            memory.append(KEY, block(0), epoch=state.epoch)
        with pytest.raises(NotFound):
            memory.get_video(VideoKey("pool", "nobody"))
        memory.drop_video(KEY)
    samples = scrape(server)
    assert value(samples, "call_seconds_count", method="Append", status="ABORTED") == 1
    assert value(samples, "call_seconds_count", method="GetVideo", status="NOT_FOUND") == 1
    kinds = {"created": 1, "appended": 1, "truncated": 1, "fenced": 1, "dropped": 1, "expired": 0}
    assert {kind: value(samples, "events_total", kind=kind) for kind in kinds} == kinds


def test_quotas_and_expiry_of_a_pool(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_pool("small", PoolSpec(max_bytes=1 << 20, max_videos=7, ttl_ms=300))
        memory.create_video(VideoKey("small", "a"), SPEC)
        samples = scrape(server)
        assert value(samples, "pool_limit_bytes", pool="small") == 1 << 20
        assert value(samples, "pool_limit_videos", pool="small") == 7
        assert 0 < value(samples, "pool_bytes", pool="small") < 1 << 20
        eventually(server, lambda now: value(now, "events_total", kind="expired") == 1)
        assert value(scrape(server), "pool_videos", pool="small") == 0


def test_forks_share_bytes(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        memory.fork_video(KEY, VideoKey("pool", "fork"))
        memory.get_video(VideoKey("pool", "fork"))
    samples = scrape(server)
    assert value(samples, "bytes", tier="shared") > 3 * SPEC.latent_bytes
    assert value(samples, "events_total", kind="forked") == 1


@pytest.mark.parametrize(("rows", "expected"), [("equal", 1.0), ("orthogonal", 0.0)])
def test_redundancy_of_hits(server: Server, rows: str, expected: float) -> None:
    embeddings = np.eye(3, SPEC.embedding_dim, dtype=np.float32)
    if rows == "equal":
        embeddings = np.repeat(embeddings[:1], 3, axis=0)
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, Block(0, embeddings, {"latent": latents(0)}))
        assert "hit_redundancy " not in exposition(server), "nothing was retrieved yet"
        memory.search(KEY, [Query(3, ALL, embedding=embeddings.sum(axis=0))])
    assert value(scrape(server), "hit_redundancy") == pytest.approx(expected, abs=1e-6)


def test_a_torn_tail_is_counted(tmp_path: Path) -> None:
    with_tail = tmp_path / "data" / "pool" / "video.reel"
    engine = MemoryEngine(tmp_path / "data")
    engine.create_video(KEY, SPEC)
    engine.append(KEY, block(0), sync=True)
    engine.close()
    with with_tail.open("ab") as reel:
        reel.write(b"torn")
    server = Server(
        ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", metrics_address="127.0.0.1:0")
    )
    server.start()
    try:
        assert value(scrape(server), "torn_tails_total") == 0
        with MemoryClient(server.address) as memory:
            assert memory.get_video(KEY).state.length == 3
        assert value(scrape(server), "torn_tails_total") == 1
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fatal(BaseException):
        """Nothing catches it."""

    def fatal(*_: object) -> None:
        raise Fatal

    def dead(samples: Samples) -> set[str]:
        alive = {
            labels[0][1]: value for (name, labels), value in samples.items() if name.endswith("thread_alive")
        }
        assert len(alive) >= 4
        return {thread for thread, lives in alive.items() if not lives}

    server.engine.create_video(KEY, SPEC)
    assert not dead(scrape(server))
    with monkeypatch.context() as patch:
        patch.setattr(ReelFile, "commit", fatal)
        server.engine.append(KEY, block(0))
        eventually(server, lambda now: bool(dead(now)))
    samples = scrape(server)
    (thread,) = dead(samples)
    assert thread.startswith("group-commit")
    assert value(samples, "undurable_frames") == 3


def test_pools_without_end_are_not_labels_without_end(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        for number in range(MAX_POOLS + 3):
            memory.create_pool(f"pool-{number}", PoolSpec(max_videos=1))
    samples = scrape(server)
    pools = {dict(labels)["pool"] for name, labels in samples if name == "reverie_memory_pool_videos"}
    assert len(pools) == MAX_POOLS + 1
    assert value(samples, "pool_limit_videos", pool=OTHER_POOLS) == 3
    assert value(samples, "pools") == MAX_POOLS + 3


def test_scraping_keeps_no_video_alive_and_opens_none(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        for name in "abc":
            key = VideoKey("pool", name)
            memory.create_video(key, SPEC)
            memory.advance(key, block(0), Query(2, ALL))
    opened = value(scrape(server), "opened_total")
    for _ in range(5):
        assert value(scrape(server), "opened_total") == opened


def test_every_metric_is_documented(server: Server) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.advance(KEY, block(0), Query(2, ALL))
    families = {
        f"{family.name}{'_total' if family.type == 'counter' else ''}"
        for family in text_string_to_metric_families(exposition(server))
    }
    ours = {name for name in families if name.startswith("reverie_memory_") and "_created" not in name}
    table = DOCS.read_text(encoding="utf-8").split("## Metrics\n")[1].split("\n## ")[0]
    documented = {
        line.split("`")[1].partition("{")[0] for line in table.splitlines() if line.startswith("| `")
    }
    assert documented == ours


def test_an_address_in_use_is_busy(server: Server, tmp_path: Path) -> None:
    assert server.metrics_address is not None
    with pytest.raises(Busy, match="metrics_address"):
        Server(
            ServiceConfig(
                data_dir=tmp_path / "other", address="127.0.0.1:0", metrics_address=server.metrics_address
            )
        )
    MemoryEngine(tmp_path / "other").close()


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "example.org:9464", "9464", "127.0.0.1:x"])
def test_other_machines_read_metrics_only_where_told_so(address: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ServiceConfig(data_dir=Path("data"), metrics_address=address)
    assert caught.value.field == "metrics_address"
    if address.startswith("0.0.0.0"):
        ServiceConfig(data_dir=Path("data"), metrics_address=address, insecure_metrics_address=True)


def test_nothing_is_imported_for_what_is_off() -> None:
    code = (
        "import sys, tempfile\n"
        "from pathlib import Path\n"
        "from memory_service.server import Server, ServiceConfig\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    Server(ServiceConfig(data_dir=Path(folder), address='127.0.0.1:0')).stop()\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} & {'prometheus_client', 'opentelemetry'}\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
