"""A short run of `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_a_short_soak(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "tests/soak", "--minutes", "0.35", "--data", tmp_path, "--report", report]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(report.read_text())
    assert told["findings"] == 0
    assert sum(told["harms"].values()) > 2
    assert {"append", "advance", "search", "fetch"} <= set(told["calls"])
    assert str(told["seed"]) in ran.stdout
