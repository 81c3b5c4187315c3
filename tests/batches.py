"""Batches in processes of their own, of two short prompts, with weights that are quick to run."""

import subprocess
import sys
from pathlib import Path

from tiny_weights import write_tiny_weights

FRAMES = 33
VILLAGE = '{"name": "village", "prompt": "a snowy village at dusk; pan right 2s, pan left 2s"}'
FOREST = '{"name": "forest", "prompt": "an autumn forest at noon; pan left 2s"}'


class Batches:
    """Runs batches with the tiny weights."""

    def __init__(self, folder: Path) -> None:
        self.weights = write_tiny_weights(folder / "weights")
        self.folder = folder

    def command(self, out: Path, *words: str, prompts: tuple[str, ...] = (VILLAGE, FOREST)) -> list[str]:
        """`words` come last, so that they win."""
        listed = self.folder / f"{out.name}-{len(prompts)}.jsonl"
        listed.write_text("\n".join(["# a list", *prompts, ""]))
        fixed = ["--out", out, "--weights", self.weights, "--frames", FRAMES, "--workers", 2]
        jobs = ["--seeds", "0,3", "--methods", "longlive_rag,native"]
        return [sys.executable, "-m", "generator", "batch", listed, *fixed, *jobs, *words]

    def run(self, out: Path, *words: str, code: int = 0, **given: tuple[str, ...]) -> str:
        """What a batch printed, once it has ended with this exit code."""
        done = subprocess.run(
            list(map(str, self.command(out, *words, **given))),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def start(self, out: Path, *words: str, by: str = "worker") -> subprocess.Popen[str]:
        """A batch whose first rollout has begun; `by` names the worker."""
        running = subprocess.Popen(
            list(map(str, self.command(out, *words))),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert running.stdout is not None
        said = []
        while not ((line := running.stdout.readline()).startswith(by) and f" 0/{FRAMES}" in line):
            assert line, said
            said.append(line)
        return running
