"""Shell completion: what it offers, and the scripts in real shells where there are any."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import SPEC

from memory_service.__main__ import main
from memory_service.cli.completion import SCRIPTS, completions
from memory_service.cli.tree import parser
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.server import Server
from memory_service.types import VideoKey


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("completion")
    server = Server(ServiceConfig(data_dir=folder / "data", address=f"unix:{folder}/s"))
    server.start()
    with MemoryClient(server.address) as memory:
        for pool, video in (("films", "take-1"), ("films", "take-2"), ("tests", "one")):
            memory.create_video(VideoKey(pool, video), SPEC)
    yield server.address
    server.stop()


def offered(*words: str, address: str = "unix:/nowhere") -> list[str]:
    return completions(parser({"REVERIE_MEMORY_ADDRESS": address}), words)


def test_commands_options_and_choices() -> None:
    assert offered("tr") == ["truncate"]
    assert {"serve", "pools", "watch"} <= set(offered(""))
    assert offered("pools", "cr") == ["create"]
    assert offered("--log-level", "INFO", "stat") == ["status"]
    assert offered("status", "--on") == ["--once"]
    assert offered("serve", "--durability", "g") == ["group"]
    assert offered("completion", "b") == ["bash"]
    assert offered("--log-format", "j") == ["json"]
    assert offered("serve", "--data", "./x") == []
    assert offered("export", "films/take-1", "./x") == []
    assert offered("nonsense", "x") == []


def test_pools_and_videos_of_a_memory_that_answers(address: str) -> None:
    assert offered("videos", "f", address=address) == ["films"]
    assert offered("show", "f", address=address) == ["films/"]
    assert offered("show", "films/", address=address) == ["films/take-1", "films/take-2"]
    assert offered("show", "--memory", address, "tests/") == ["tests/one"]
    assert offered("fork", "films/take-1", "te", address=address) == ["tests/"]
    assert offered("heartbeat", "films/take-1", "films/take-2", "t", address=address) == ["tests/"]
    assert offered("drop", "films/take-1", "f", address=address) == [], "it takes one"
    assert offered("show", "f") == [], "a memory that is away is no error"


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script == SCRIPTS[shell]
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run([program, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "reverie-memory"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m memory_service "$@"\n')
    program.chmod(0o755)
    typed = (
        'source /dev/stdin <<< "$(reverie-memory completion bash)"\n'
        "complete -p reverie-memory > /dev/null\n"
        "COMP_WORDS=(reverie-memory pools cr) COMP_CWORD=2\n"
        "_reverie_memory\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-euc", typed],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "create\n", "")
