"""A published backbone through the command line, on tiny weights: video, latents and record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
from published_weights import write_published
from safetensors.torch import load_file

FRAMES = 15


def run(root: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "generator", "run", "--prompt", "a village", "--frames", str(FRAMES)]
    command += ["--weights", str(root), "--encoder", "avg-pool", "--device", "cpu", "--threads", "1"]
    command += [
        "--height",
        "32",
        "--width",
        "48",
        "--text-cache",
        str(out.parent / "text"),
        "--out",
        str(out),
    ]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=200)


def pixel_frames(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.mark.parametrize(("backbone", "chunk"), [("self_forcing", None), ("longlive", "6")])
def test_a_rollout(tmp_path: Path, backbone: str, chunk: str | None) -> None:
    root, out = write_published(tmp_path / "weights"), tmp_path / "out"
    words = ["--backbone", backbone, *(["--vae-chunk", chunk] if chunk else [])]
    done = run(root, out, *words)
    assert done.returncode == 0, done.stderr
    assert pixel_frames(out / "a-village.mp4") == 4 * FRAMES - 3 * (3 if chunk else 1)
    assert load_file(out / "a-village.latents.safetensors")["latents"].shape == (FRAMES, 16, 4, 6)
    record = json.loads((out / "a-village.json").read_text())
    assert record["settings"]["backbone"] == backbone
    assert len(list((tmp_path / "text").iterdir())) == 1


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "weights", tmp_path / "out", "--backbone", "causal_forcing")
    assert done.returncode == 1
    assert "hf download zhuhz22/Causal-Forcing chunkwise/causal_forcing.pt" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
