"""The demo in miniature: real processes, a real service, an untrained model of two layers."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import processes_about
from rich.console import Console
from safetensors.torch import load_file
from tiny_weights import write_tiny_weights

from generator.demo import DemoConfig, run_demo
from generator.records.record import RolloutRecord
from generator.records.video import read_frames
from memory_service.engine import MemoryEngine
from memory_service.types import VideoKey

FRAMES = 33
CONFIG = DemoConfig(num_frames=FRAMES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


def command(out: Path, weights: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "generator", "demo", "--out", str(out), "--weights", str(weights), *words]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, weights):
    """The folder of a finished demo and what it printed; an earlier one and a stranger had been there."""
    out = tmp_path_factory.mktemp("demo")
    (out / "notes.txt").write_text("mine")
    (out / ".made-by-demo.json").write_text(json.dumps(["memory", "village.mp4", "../" + out.name]))
    (out / "memory" / "demo").mkdir(parents=True)
    (out / "memory" / "demo" / "old.reel").write_text("old")
    done = subprocess.run(
        command(out, weights, "--frames", str(FRAMES)),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_every_promised_file_is_there_and_no_other(demo):
    out, _ = demo
    assert {path.name for path in out.iterdir()} == {*CONFIG.planned(), ".made-by-demo.json", "notes.txt"}
    assert (out / "notes.txt").read_text() == "mine"


def test_each_video_has_all_its_frames(demo):
    out, _ = demo
    for path in sorted(out.glob("*.mp4")):
        frames = list(read_frames(path))
        assert len(frames) == FRAMES, path
        assert min(frames[0].shape[:2]) >= 256
    for path in sorted(out.glob("*.safetensors")):
        assert load_file(path)["latents"].shape == (FRAMES, 16, 8, 8)


def test_methods_share_their_noise_and_differ_in_their_context(demo):
    out, _ = demo
    rag, relative, native = (
        load_file(out / f"{name}.latents.safetensors")["latents"]
        for name in ("village", "village-relative", "village-native")
    )
    assert torch.equal(relative[:12], native[:12]), "same frames at the same positions"
    assert torch.equal(rag[:6], native[:6])
    assert not torch.equal(rag[18:], relative[18:])


def test_records_and_the_service_tell_the_same_story(demo):
    out, _ = demo
    record = RolloutRecord.read(out / "village.json")
    memory = MemoryEngine.open_read_only(out / "memory")
    log = {retrieval.length: retrieval for retrieval in memory.retrievals(VideoKey("demo", "village"))}
    videos = {info.key.video: info.state.length for info in memory.list_videos("demo")}
    memory.close()
    assert videos == {f"{v}{m}": FRAMES for v in ("village", "forest") for m in ("", "-relative", "-native")}
    told = {block.start: tuple(hit.frame for hit in block.retrieved) for block in record.blocks}
    assert told == {
        block.start: log[block.start].frames if block.start in log else () for block in record.blocks
    }
    assert len(told[30]) == 6
    assert record.camera_cells[:4] == (0, 1, 2, 3)
    assert all(block.parts_ms["total"] >= block.parts_ms["denoise"] > 0 for block in record.blocks)


def test_pictures_and_the_page_that_shows_them(demo):
    out, _ = demo
    page = (out / "report.md").read_text()
    for name in ("contact_sheet.png", *CONFIG.pictures()):
        assert f"]({name})" in page
        assert len(np.unique(np.asarray(Image.open(out / name)))) > 20
    assert "| denoise |" in page


def test_the_last_words_name_the_files_and_the_way_to_look_further(demo):
    out, printed = demo
    assert f"reverie-inspect --data {out / 'memory'} show demo/village" in printed
    assert str(out / "village.side_by_side.mp4") in printed
    assert all(part in printed for part in ("denoise", "recache", "encode", "append", "search", "fetch"))


def test_an_interrupt_leaves_no_process_behind(tmp_path, weights):
    with subprocess.Popen(
        command(tmp_path / "demo", weights), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        while "0/240" not in (line := running.stdout.readline()):
            assert line, running.stderr.read()
        assert len(processes_about(tmp_path)) >= 4
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == 130
    assert not processes_about(tmp_path)


def test_a_failing_generator_fails_the_demo_with_its_reason(tmp_path, monkeypatch, capsys):
    def commands(*_):
        return {
            "village": [sys.executable, "-c", "raise SystemExit('out of paint')"],
            "forest": [sys.executable, "-c", "import time; time.sleep(600)", str(tmp_path)],
        }

    monkeypatch.setattr("generator.demo.generator_commands", commands)
    assert run_demo(DemoConfig(out=tmp_path / "demo"), Console()) == 1
    said = capsys.readouterr().err
    assert "the generator of village ended with exit code 1" in said
    assert "out of paint" in said
    assert not processes_about(tmp_path)


def test_files_of_another_origin_are_not_overwritten(tmp_path, weights):
    (tmp_path / "village.mp4").write_text("mine")
    done = subprocess.run(command(tmp_path, weights), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "village.mp4" in done.stderr
    assert (tmp_path / "village.mp4").read_text() == "mine"
