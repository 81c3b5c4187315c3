"""What docs/operations.md says, held against the program."""

import argparse
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from samples import ALL, KEY, SPEC, assert_frames, block
from serving import ServerProcess

from memory_service.__main__ import main
from memory_service.cli.config_options import config_options
from memory_service.cli.exit_codes import EXIT_CODES, MEANINGS
from memory_service.cli.tree import parser
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, NotFound, ServiceError
from memory_service.memory import Memory
from memory_service.types import Block, Query, Span, VideoKey, VideoSpec
from memory_service.verify import verify
from memory_service.wire.status import CODES

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
TEXT = DOCS.read_text(encoding="utf-8")
FORK, GROWING = VideoKey("pool", "fork"), VideoKey("pool", "growing")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in lines[0].splitlines()[2:]]


def test_options() -> None:
    expected = [
        [f"`{one.flag}`", f"`{one.variable}`", one.shown_default, one.help] for one in config_options()
    ]
    assert table("Options") == expected


def leaves(top: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, str]]:
    """Every command with its help."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, command in action.choices.items():
                below = list(leaves(command, f"{words}{name} "))
                yield from below or [(f"{words}{name}", helps[name])]


def test_commands() -> None:
    assert table("Commands") == [[f"`{name}`", text] for name, text in leaves(parser({}))]


def test_exit_codes() -> None:
    assert table("Exit codes") == [[str(code), meaning] for code, meaning in MEANINGS.items()]


def test_every_error_has_its_status_its_code_and_a_remedy() -> None:
    rows = table("Errors")
    assert [row[:3] for row in rows] == [
        [f"`{cls.__name__}`", status.name, str(EXIT_CODES[cls])] for cls, status in CODES.items()
    ]
    assert all(len(row) == 5 and row[3] and row[4] for row in rows)


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert not path or (DOCS.parent / path).exists(), target
        assert not anchor or anchor in anchors, target
    for path in re.findall(r"`((?:tests|deploy|docs|benchmarks)/[\w./-]+)`", TEXT):
        assert (DOCS.parents[1] / path).exists(), path


def test_commands_in_the_text_are_right() -> None:
    found = re.findall(r"^    (reverie-memory .+)$", TEXT, re.MULTILINE)
    assert found
    for line in found:
        parser({}).parse_args(line.split(" #")[0].split()[1:])


def numbers(row: str) -> list[int]:
    (found,) = (cells for cells in table("Sizing") if cells[0].startswith(row))
    return [int(text.replace(",", "")) for text in re.findall(r"[0-9][0-9,]*", found[1])]


def test_sizing(tmp_path: Path) -> None:
    memory, key, num_frames = MemoryEngine(tmp_path), VideoKey("films", "take"), 480
    memory.create_video(key, VideoSpec(1024, "bfloat16", (16, 60, 104), "encoder/1"))
    rng = np.random.default_rng(0)
    latents = [rng.bytes(199_680)] * 3
    for start in range(0, num_frames, 3):
        embeddings = rng.standard_normal((3, 1024), dtype=np.float32)
        memory.advance(key, Block(start, embeddings, {"latent": latents}), Query(6, Span(0, start + 3)))
    info, (pool,) = memory.info(), memory.list_pools()
    memory.close()
    (reel,) = tmp_path.rglob("*.reel")
    (disk,), (index,) = numbers("reel on disk"), numbers("index and tables")
    assert reel.stat().st_size / num_frames == pytest.approx(disk, rel=0.001)
    assert info.num_bytes == pool.usage.num_bytes == pytest.approx(disk * num_frames, rel=0.001)
    assert info.index_bytes / num_frames == pytest.approx(index, rel=0.03)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A data directory with a video, a fork of it that has grown, and a pool with a quota."""
    folder = tmp_path / "data"
    memory = MemoryEngine(folder)
    fill(memory)
    memory.close()
    return folder


def fill(memory: Memory) -> None:
    memory.create_video(KEY, SPEC)
    for start in range(0, 9, 3):
        memory.advance(KEY, block(start), Query(3, ALL))
    memory.fork_video(KEY, FORK, length=6)
    memory.append(FORK, block(6))


@pytest.mark.parametrize("words", [["cp", "-a"], ["cp", "-r"]], ids=" ".join)
def test_a_cold_copy_is_the_memory(filled: Path, tmp_path: Path, words: list[str]) -> None:
    before = MemoryEngine(filled)
    expected = {info.key: info for info in before.list_videos("pool")}
    handles = [hit.handle for hit in before.search(KEY, [Query(3, ALL, frame=0)], log=False).hits[0]]
    before.close()
    subprocess.run([*words, str(filled), str(tmp_path / "copy")], check=True)
    shutil.rmtree(filled)
    assert verify(tmp_path / "copy").clean
    after = MemoryEngine(tmp_path / "copy")
    assert {info.key: info for info in after.list_videos("pool")} == expected
    assert_frames(after, 0, 9, KEY)
    assert_frames(after, 0, 9, FORK)
    assert len(after.fetch(handles)) == 3, "handles stay valid"
    after.append(KEY, block(9), sync=True)
    after.close()
    assert verify(tmp_path / "copy").clean


def test_exports_of_a_service_at_work_bring_everything_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, stop = tmp_path / "backup", threading.Event()
    backup.mkdir()
    with ServerProcess(tmp_path / "data") as server:
        with MemoryClient(server.address) as memory:
            fill(memory)
            memory.create_video(GROWING, SPEC)
        writer = threading.Thread(target=grow, args=(server.address, stop))
        writer.start()
        try:
            lengths = {}
            for key in (KEY, FORK, GROWING):
                words = ["export", f"pool/{key.video}", str(backup / key.video), "--json"]
                assert main(["--log-level", "ERROR", *words, "--memory", server.address]) == 0
                lengths[key] = json.loads(capsys.readouterr().out)["bytes"]
        finally:
            stop.set()
            writer.join()
    with ServerProcess(tmp_path / "restored") as server, MemoryClient(server.address) as memory:
        for key in lengths:
            words = ["import", f"pool/{key.video}", str(backup / key.video)]
            assert main(["--log-level", "ERROR", *words, "--memory", server.address]) == 0
            length = memory.get_video(key).state.length
            assert_frames(memory, 0, length, key)
            assert length % 3 == 0
        assert memory.get_video(KEY).state.length == memory.get_video(FORK).state.length == 9
        assert [len(one.frames) for one in memory.retrievals(KEY)] == [3, 3, 3], "the log goes along"
        memory.append(FORK, block(9))
    assert verify(tmp_path / "restored").clean


def grow(address: str, stop: threading.Event, key: VideoKey = GROWING) -> None:
    with MemoryClient(address) as memory:
        start = memory.get_video(key).state.length
        while not stop.is_set():
            memory.append(key, block(start))
            start += 3


def test_a_file_copy_of_a_live_directory_is_no_backup_but_tells_no_lies(tmp_path: Path) -> None:
    stop, copies = threading.Event(), 6
    with ServerProcess(tmp_path / "data") as server:
        with MemoryClient(server.address) as memory:
            fill(memory)
            memory.create_video(GROWING, SPEC)
        writer = threading.Thread(target=grow, args=(server.address, stop))
        writer.start()
        try:
            for number in range(copies):
                subprocess.run(
                    ["cp", "-a", str(tmp_path / "data"), str(tmp_path / f"copy-{number}")], check=True
                )
        finally:
            stop.set()
            writer.join()
    for number in range(copies):
        copied = MemoryEngine(tmp_path / f"copy-{number}")
        assert_frames(copied, 0, 9, KEY)
        try:
            length = copied.get_video(GROWING).state.length
        except DataLoss:
            continue  # copied while a record was written: refused, not wrong
        if length:
            assert_frames(copied, 0, length, GROWING)
        copied.close()


def test_a_restored_video_has_handles_of_its_own(filled: Path) -> None:
    memory = MemoryEngine(filled)
    (hit,) = memory.search(KEY, [Query(1, ALL, frame=0)]).hits[0]
    reel = b"".join(memory.export_video(KEY))
    memory.drop_video(KEY)
    memory.import_video(KEY, [reel])
    with pytest.raises(NotFound):
        memory.fetch([hit.handle])
    assert_frames(memory, 0, 9)
    memory.close()


def test_steps_of_the_runbook_for_a_damaged_reel(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = MemoryEngine(filled)
    copy = b"".join(healthy.export_video(KEY))
    healthy.close()
    reel = filled / "pool" / "video.reel"
    data = bytearray(reel.read_bytes())
    data[data.index(bytes(block(3).parts["latent"][0])) + 5] ^= 1
    reel.write_bytes(data)
    assert main(["verify", str(filled), "--json"]) == 6
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {Path(one["file"]).name for one in findings} >= {"video.reel"}
    assert any(one["frames"] == "[3,4)" and one["intact"] == 8 for one in findings)
    shutil.copy(reel, tmp_path / "evidence.reel")
    memory = MemoryEngine(filled)
    with pytest.raises(ServiceError):
        assert_frames(memory, 0, 9)
    memory.drop_video(KEY)
    memory.import_video(KEY, [copy])
    assert_frames(memory, 0, 9)
    memory.close()
    assert "video.reel" not in {Path(finding.path).name for finding in verify(filled).findings}
