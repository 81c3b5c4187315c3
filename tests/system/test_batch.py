"""Batches in real worker processes against a real service, with an untrained model of two layers."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from batches import FOREST, FRAMES, VILLAGE, Batches
from processes import processes_about
from serving import ServerProcess

from generator.records.record import RolloutRecord
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.types import VideoKey

GIRAFFE = '{"prompt": "a giraffe", "name": "giraffe"}'
JOBS = [
    f"{prompt}-s{seed}{method}"
    for prompt in ("village", "forest")
    for seed in (0, 3)
    for method in ("", "-native")
]
PROCESSES_END_S = 10.0


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def results(out: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that depend on nothing but their job; a record has times in it."""
    files = [item for job in manifest(out)["jobs"].values() for item in job["files"].items()]
    return {name: file["sha256"] for name, file in files if not name.endswith(".json")}


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    return Batches(tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def whole(batches):
    """The folder of a finished batch, and what it printed."""
    out = batches.folder / "whole"
    return out, batches.run(out)


def test_every_job_leaves_its_files_and_its_entry(whole):
    out, _ = whole
    told = manifest(out)
    files = [f"{job}{ending}" for job in JOBS for ending in (".mp4", ".latents.safetensors", ".json")]
    assert {path.name for path in out.iterdir()} == {*files, "jobs", "memory", "manifest.json"}
    assert list(told["jobs"]) == JOBS
    assert told["counts"] == {"done": len(JOBS)}
    assert told["config"]["workers"] == 2
    assert told["seeds"] == [0, 3]
    assert len(told["weights"]) == 4
    assert set(told["versions"]) == {"reverie", "torch", "diffusers", "python", "machine"}


def test_records_the_manifest_and_the_service_tell_the_same_story(whole):
    out, _ = whole
    entries = manifest(out)["jobs"]
    memory = MemoryEngine.open_read_only(out / "memory")
    log = list(memory.retrievals(VideoKey("batch", "village-s3")))
    videos = {info.key.video: info.state.length for info in memory.list_videos("batch")}
    memory.close()
    assert videos == dict.fromkeys(JOBS, FRAMES)
    record = RolloutRecord.read(out / "village-s3.json")
    assert entries["village-s3"]["settings"] == record.settings
    assert (record.seed, record.method) == (3, "longlive_rag")
    told = entries["village-s3"]["retrievals"]
    assert told["blocks"] == len([block for block in record.blocks if block.retrieved]) == len(log) > 3
    assert told["frames"] == sum(len(logged.frames) for logged in log)
    assert entries["village-s3-native"]["retrievals"]["frames"] == 0
    assert entries["village-s3"]["timings"]["mean_ms"]["denoise"] > 0


def test_lines_tell_of_each_worker_and_of_all(whole):
    _, printed = whole
    assert {line[:9] for line in printed.splitlines() if line.startswith("worker")} == {
        "worker 1:",
        "worker 2:",
    }
    assert f"/{FRAMES} frames" in printed
    assert f"all: {len(JOBS)}/{len(JOBS)} videos" in printed
    assert printed.splitlines()[-1].startswith(f"{len(JOBS)} made, 0 complete before, 0 failed")


def test_neither_workers_nor_order_change_a_bit(batches, whole):
    out = batches.folder / "alone"
    words = ("--workers", "1", "--seeds", "3,0", "--methods", "native,longlive_rag")
    batches.run(out, *words, prompts=(FOREST, VILLAGE))
    assert next(iter(manifest(out)["jobs"])) == "forest-s3-native"
    assert results(out) == results(whole[0])


def test_only_what_is_not_complete_is_made(batches, whole, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(whole[0], out)
    (out / "village-s0.mp4").unlink()
    latents = bytearray((out / "forest-s3.latents.safetensors").read_bytes())
    latents[-1] ^= 1
    (out / "forest-s3.latents.safetensors").write_bytes(latents)
    before = times(out)
    plan = batches.run(out, "--dry-run").splitlines()
    assert times(out) == before
    assert plan[0] == "make  village-s0  (village-s0.mp4 is missing)"
    assert "make  forest-s3  (forest-s3.latents.safetensors was changed)" in plan
    assert plan[-1] == "2 to make, 6 complete"
    assert "2 made, 6 complete before" in batches.run(out)
    after = times(out)
    made = {name.partition(".")[0] for name in after if after[name] != before.get(name)}
    assert made == {"village-s0", "forest-s3", "manifest"}
    assert results(out) == results(whole[0])


def test_another_description_is_another_job(batches, whole):
    out, _ = whole
    plan = batches.run(out, "--dry-run", "--frames", "36", "--seeds", "0,7").splitlines()
    assert plan[0] == "make  village-s0  (other num_frames)"
    assert "make  village-s7  (new)" in plan
    assert "(other window.top_k)" in batches.run(out, "--dry-run", "--top-k", "3")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_interrupted_is_finished_by_the_next(batches, whole, tmp_path, how):
    out = tmp_path / "interrupted"
    with batches.start(out, "--workers", "1") as running:
        running.send_signal(how)
        running.communicate(timeout=60)
    assert running.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    wait_until_none_is_about(out, 0 if how == signal.SIGINT else PROCESSES_END_S)
    assert "(half done)" in batches.run(out, "--dry-run")
    batches.run(out, "--workers", "1")
    assert results(out) == results(whole[0])
    assert not processes_about(out)


def test_a_worker_that_dies_costs_no_result(batches, whole, tmp_path):
    out = tmp_path / "killed"
    with batches.start(out, by="worker 1") as running:
        workers = [process for process, words in processes_about(out).items() if "--worker 1 " in words]
        assert len(workers) == 1
        # It may be between two jobs by now, and is then replaced without a loss.
        os.kill(workers[0], signal.SIGKILL)
        printed, _ = running.communicate(timeout=200)
    assert running.returncode == 0, printed
    assert results(out) == results(whole[0])
    entries = manifest(out)["jobs"].values()
    assert sorted(entry["attempts"] for entry in entries) in ([1] * 8, [1] * 7 + [2])
    assert ("lost, will be tried again" in printed) == any(entry["attempts"] == 2 for entry in entries)


def test_a_job_that_cannot_be_made_is_reported_and_others_go_on(batches, tmp_path):
    with ServerProcess(tmp_path / "data") as server:
        words = (
            "--workers",
            "1",
            "--memory",
            server.address,
            "--pool",
            "films",
            "--seeds",
            "0",
            "--methods",
            "native",
        )
        out = tmp_path / "some"
        printed = batches.run(out, *words, code=1, prompts=(GIRAFFE, VILLAGE))
        assert "failed: giraffe-s0-native: UnknownWordError" in printed
        assert manifest(out)["counts"] == {"failed": 1, "done": 1}
        assert not (out / "memory").exists()
        with MemoryClient(server.address) as memory:
            assert [info.key.video for info in memory.list_videos("films")] == ["village-s0-native"]
            before = memory.get_video(VideoKey("films", "village-s0-native")).state.epoch
            others = tmp_path / "others"
            printed = batches.run(others, *words, code=1, prompts=(VILLAGE,))
            assert "failed: village-s0-native: HistoryNotEmptyError" in printed
            assert memory.get_video(VideoKey("films", "village-s0-native")).state.epoch == before
            batches.run(others, *words, "--replace", prompts=(VILLAGE,))
            assert memory.get_video(VideoKey("films", "village-s0-native")).state.epoch != before


def test_files_of_another_origin_are_not_overwritten(batches, tmp_path):
    (tmp_path / "village-s0.mp4").write_text("mine")
    batches.run(tmp_path, code=1)
    assert (tmp_path / "village-s0.mp4").read_text() == "mine"
    assert not (tmp_path / "memory").exists()


def test_a_model_that_cannot_be_loaded_ends_the_batch(batches, tmp_path):
    command = batches.command(
        tmp_path / "out", "--workers", "1", "--encoder", batches.weights / "codec.safetensors"
    )
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "ended with exit code 1 before it could begin" in done.stderr
    assert "codec.safetensors" in done.stderr
    assert manifest(tmp_path / "out")["counts"] == {"waiting": len(JOBS)}


def wait_until_none_is_about(folder: Path, seconds: float) -> None:
    """Fails where a process still names the folder after so many seconds."""
    end = time.monotonic() + seconds
    while (left := processes_about(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
