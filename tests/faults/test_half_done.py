"""A process that ends in the middle of a verb, at every call that changes its directory: old state or new.

Each run does the same up to the verb, in a process of its own. There it is killed at the n-th call that
would change the directory, for every n until the verb is answered. What is then found, once as the page cache
has it and once as a loss of power leaves it, is the state before the verb or the one after it, never a mix.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from injection import CHANGES, Injector, lose_power
from samples import KEY, block, latents, query

from memory_service.engine import MemoryEngine
from memory_service.types import Parent, VideoInfo, VideoKey

FORK = VideoKey("pool", "fork")
NEW = VideoKey("new.pool", "new")

PREPARE = """
import sys
sys.path.insert(0, "tests")
from samples import KEY, SPEC, block
from memory_service.engine import MemoryEngine
from memory_service.types import VideoKey
FORK, NEW = VideoKey("pool", "fork"), VideoKey("new.pool", "new")
memory = MemoryEngine(sys.argv[1], durability="sync", extent_bytes=4096)
memory.create_video(KEY, SPEC)
for start in (0, 3, 6):
    memory.append(KEY, block(start))
memory.fork_video(KEY, FORK, length=6)
memory.append(FORK, block(6))
reel = b"".join(memory.export_video(FORK))
print("ready", flush=True)
sys.stdin.readline()
{verb}
print("answered", flush=True)
sys.stdin.readline()
"""

VERBS = {
    "fork": "memory.fork_video(FORK, NEW)",
    "truncate": "memory.truncate_video(KEY, 4)",
    "truncate-fork": "memory.truncate_video(FORK, 2)",
    "seal": "memory.seal_video(KEY)",
    "import": "memory.import_video(NEW, [reel[:999], reel[999:]])",
    "drop-parent": "memory.drop_video(KEY)",
    "drop-fork": "memory.drop_video(FORK)",
}

QUICK = {"truncate", "fork"}
"""The others make the same calls in other places: they are for the long run."""

State = dict[VideoKey, tuple[int, bool]]
"""Length and seal of each video."""

BEFORE: State = {KEY: (9, False), FORK: (9, False)}
AFTER: dict[str, State] = {
    "fork": BEFORE | {NEW: (9, False)},
    "truncate": BEFORE | {KEY: (4, False)},
    "truncate-fork": BEFORE | {FORK: (2, False)},
    "seal": BEFORE | {KEY: (9, True)},
    "import": BEFORE | {NEW: (9, False)},
    "drop-parent": {FORK: (9, False)},
    "drop-fork": {KEY: (9, False)},
}


@pytest.mark.parametrize(
    "verb", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in VERBS]
)
def test_old_state_or_new(injector: Injector, tmp_path: Path, verb: str) -> None:
    seen = []
    answered = False
    while not answered:
        data_dir, shadow = tmp_path / f"{len(seen)}", tmp_path / f"{len(seen)}.shadow"
        data_dir.mkdir()
        injector.clear()
        injector.watch(data_dir, shadow)
        answered = run(injector, data_dir, VERBS[verb], kill_after=len(seen))
        left = tmp_path / "left"
        subprocess.run(["cp", "--archive", data_dir, left], check=True)
        lose_power(data_dir, shadow)
        found = [look(folder) for folder in (left, data_dir)]
        for state in found:
            assert state in (BEFORE, AFTER[verb])
        if answered:
            assert found == [AFTER[verb]] * 2
        seen.append(found)
        for folder in (left, data_dir, shadow):
            shutil.rmtree(folder)
    assert len(seen) > 2
    assert seen[0] == [BEFORE, BEFORE]


def run(injector: Injector, data_dir: Path, verb: str, *, kill_after: int) -> bool:
    """Whether the verb was answered before the process was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PREPARE.format(verb=verb), str(data_dir)],
        env=injector.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        injector.kill(CHANGES, f"{data_dir}/*", after=kill_after)
        process.stdin.write("\n")
        process.stdin.flush()
        answered = process.stdout.readline() == "answered\n"
        process.kill()
        return answered


def look(data_dir: Path) -> State:
    """What a fresh process finds; every frame of it is right, and every file belongs to a video."""
    memory = MemoryEngine(data_dir)
    try:
        infos = [info for pool in memory.list_pools() for info in memory.list_videos(pool.pool)]
        for info in infos:
            assert_whole(memory, info)
        links = sum(len(list(data_dir.glob(f"*/{info.key.video}.*.base*"))) for info in infos)
        assert len(list(data_dir.glob("*/*.base*"))) == links
        assert not list(data_dir.rglob("*.new"))
        return {info.key: (info.state.length, info.sealed) for info in infos}
    finally:
        memory.close()


def assert_whole(memory: MemoryEngine, info: VideoInfo) -> None:
    assert memory.get_video(info.key).state.length == info.state.length
    (hits,) = memory.search(info.key, [query(99, like=0)], log=False).hits
    handles = sorted((hit.handle for hit in hits), key=lambda handle: handle.frame)
    assert [bytes(frame.parts["latent"]) for frame in memory.fetch(handles)] == latents(0, info.state.length)
    if info.key == FORK:
        assert isinstance(info.parent, Parent)
        assert info.parent.key == KEY
    if not info.sealed:
        assert memory.append(info.key, block(info.state.length)).state.length == info.state.length + 3
