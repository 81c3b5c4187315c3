"""Which published weights are there, and the commands that fetch the others."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from generator.__main__ import main
from generator.weights import hub

HF = Path(sys.executable).parent / "hf"

Printed = pytest.CaptureFixture[str]


def fetch(root: Path, file: hub.HubFile) -> None:
    """What a command leaves: here an empty file."""
    file.below(root).parent.mkdir(parents=True, exist_ok=True)
    file.below(root).touch()


def listed(root: Path, printed: Printed) -> dict:
    assert main(["backbones", "--weights", str(root), "--json"]) == 0
    return json.loads(printed.readouterr().out)


def text(root: Path, printed: Printed) -> str:
    assert main(["backbones", "--weights", str(root)]) == 0
    return printed.readouterr().out


def test_with_nothing_there_every_command_is_given(tmp_path: Path, capsys: Printed) -> None:
    found = listed(tmp_path, capsys)
    assert {name for name, state in found["states"].items() if state["state"] == "ready"} == {"toy"}
    assert found["states"]["longlive"]["size"] == "31.7 GB"
    assert found["states"]["self_forcing"]["missing"][0] == (
        "gdhe17/Self-Forcing/checkpoints/self_forcing_dmd.pt"
    )
    printed = text(tmp_path, capsys)
    for entry in found["commands"]:
        assert f"  {entry['command']}\n" in printed
        assert entry["size"] in printed
    assert "Self-Forcing checkpoints/self_forcing_dmd.pt" in printed
    assert f"--local-dir {tmp_path / 'Self-Forcing'}" in printed


def test_what_the_commands_fetch_makes_everything_ready(tmp_path: Path, capsys: Printed) -> None:
    root = tmp_path / "with blanks"
    for entry in listed(root, capsys)["commands"]:
        hf, download, repo, *files, option, folder = shlex.split(entry["command"])
        assert (hf, download, option) == ("hf", "download", "--local-dir")
        assert Path(folder) == root / repo.partition("/")[2]
        for file in files:
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).touch()
    found = listed(root, capsys)
    assert {state["state"] for state in found["states"].values()} == {"ready"}
    assert found["commands"] == []
    assert "hf download" not in text(root, capsys)


def test_each_backbone_is_ready_by_itself(tmp_path: Path, capsys: Printed) -> None:
    for file in hub.BASE:
        fetch(tmp_path, file)
    for places in hub.GENERATORS["longlive"]:
        fetch(tmp_path, places[-1])
    found = listed(tmp_path, capsys)
    ready = {name for name, state in found["states"].items() if state["state"] == "ready"}
    assert ready == {"toy", "longlive"}
    assert [entry["for"] for entry in found["commands"]] == [
        ["self_forcing"],
        ["causal_forcing"],
        ["retrieval encoder"],
    ]


def test_half_fetched_text_encoders_are_not_ready(tmp_path: Path) -> None:
    for file in hub.BASE:
        fetch(tmp_path, file)
    folder = hub.base_folder(tmp_path) / "text_encoder"
    shards = {f"layer.{i}": f"model-{i:05d}-of-00005.safetensors" for i in range(1, 6)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert hub.missing_base(tmp_path) == []
    (folder / shards["layer.3"]).unlink()
    assert [file.path for file in hub.missing_base(tmp_path)] == [f"text_encoder/{shards['layer.3']}"]
    (folder / "model.safetensors.index.json").unlink()
    assert len(hub.missing_base(tmp_path)) == 2
    (folder / "model.safetensors.index.json").write_text("{")
    assert [file.path for file in hub.missing_base(tmp_path)] == [f"text_encoder/{shards['layer.3']}"]


def test_text_encoders_that_are_cut_otherwise_are_whole(tmp_path: Path) -> None:
    for file in hub.BASE:
        fetch(tmp_path, file)
    folder = hub.base_folder(tmp_path) / "text_encoder"
    for path in folder.glob("model*"):
        path.unlink()
    assert len(hub.missing_base(tmp_path)) == 6
    (folder / "model.safetensors").touch()
    assert hub.missing_base(tmp_path) == []


def test_sizes_are_said_and_what_is_not_known_too() -> None:
    assert hub.size([]) == "0 GB"
    assert hub.size(hub.ENCODER) == "of unknown size"
    assert hub.size([*hub.BASE, *hub.ENCODER]) == "23.3 GB and 1 of unknown size"


def test_the_hubs_own_program_knows_the_commands(tmp_path: Path) -> None:
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    files = [places[0] for generator in hub.GENERATORS.values() for places in generator]
    for command in hub.commands([*files[:1], *hub.BASE], tmp_path / "a b"):
        _, *words = shlex.split(command)
        done = subprocess.run([HF, *words], env=offline, capture_output=True, text=True, check=False)
        assert done.returncode != 2, f"not understood: {done.stderr}"
        assert "offline" in done.stderr.lower()
