"""A crash in place of every single call that changes the disk: each verb is then done or not, never half.

One process goes through every verb that writes, at the level "sync". It is run again and again, killed at
its first, second, third ... such call; what is left is opened by another process, once as kill -9 left it and
once as a loss of power at that moment would have.
"""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from injection import CHANGES, Injector, lose_power
from samples import ALL, KEY, embeddings, latents, oracle, query

from memory_service.engine import MemoryEngine
from memory_service.errors import NotFound
from memory_service.store.findings import Class
from memory_service.types import VideoInfo, VideoKey
from memory_service.verify import verify

CHILD, COPY, GONE = (VideoKey("pool", name) for name in ("child", "copy", "gone"))
SCRIPT = """
import sys
from samples import ALL, KEY, SPEC, block
from memory_service.engine import MemoryEngine
from memory_service.types import Query, VideoKey

CHILD, COPY, GONE = (VideoKey("pool", name) for name in ("child", "copy", "gone"))
memory = MemoryEngine(sys.argv[1], durability="sync", commit_interval_s=3600, extent_bytes=1 << 12)

def step(name, call):
    call()
    print(name, flush=True)

step("create", lambda: memory.create_video(KEY, SPEC))
step("append", lambda: memory.append(KEY, block(0)))
step("advance", lambda: memory.advance(KEY, block(3), Query(2, ALL)))
step("fork", lambda: memory.fork_video(KEY, CHILD, length=3))
step("append-child", lambda: memory.append(CHILD, block(3)))
step("truncate", lambda: memory.truncate_video(KEY, 3))
step("append-again", lambda: memory.append(KEY, block(3)))
step("seal", lambda: memory.seal_video(KEY))
step("create-gone", lambda: memory.create_video(GONE, SPEC))
step("drop", lambda: memory.drop_video(GONE))
step("import", lambda: memory.import_video(COPY, list(memory.export_video(CHILD))))
step("drop-parent", lambda: memory.drop_video(KEY))
step("close", memory.close)
"""
STEPS = [line.split('"')[1] for line in SCRIPT.splitlines() if line.startswith("step(")]
TESTS = Path(__file__).resolve().parents[1]


def run_until(injector: Injector, data_dir: Path, call: int) -> list[str]:
    """Run the script, killed in place of its n-th call; the steps that it acknowledged."""
    injector.clear()
    injector.kill(CHANGES, f"{data_dir}*", after=call)
    environment = {**injector.environment, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    command = [sys.executable, "-c", SCRIPT, str(data_dir)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode in {0, -9}, ran.stderr
    return ran.stdout.split()


def check(data_dir: Path, done: list[str]) -> None:
    """What was acknowledged holds; what was not has happened as a whole or not at all."""
    grave = [f for f in verify(data_dir).findings if f.kind not in {Class.TORN_TAIL, Class.ORPHAN}]
    assert not grave
    memory = MemoryEngine(data_dir)
    begun = [*done, STEPS[len(done)]] if len(done) < len(STEPS) else done
    check_parent(memory, done, begun)
    check_child(memory, done, begun)
    assert there(memory, GONE) is None or ("create-gone" in begun and "drop" not in done)
    copy = there(memory, COPY)
    if "import" in done:
        assert copy is not None
        assert copy.state.length == 6
    if copy is not None:
        assert "import" in begun
        check_frames(memory, COPY, 6)
    memory.close()
    assert verify(data_dir).findings == ()


def check_parent(memory: MemoryEngine, done: list[str], begun: list[str]) -> None:
    info = there(memory, KEY)
    if info is None:
        assert "create" not in done or "drop-parent" in begun
        return
    assert "create" in begun
    assert "drop-parent" not in done
    lengths = {"create": 0, "append": 3, "advance": 6, "truncate": 3, "append-again": 6}
    before = [lengths[name] for name in done if name in lengths]
    after = [lengths[name] for name in begun if name in lengths]
    assert info.state.length in {(before or [0])[-1], after[-1]}
    check_frames(memory, KEY, info.state.length)
    assert "seal" not in done or info.sealed
    assert not info.sealed or "seal" in begun


def check_child(memory: MemoryEngine, done: list[str], begun: list[str]) -> None:
    info = there(memory, CHILD)
    if info is None:
        assert "fork" not in done
        return
    assert "fork" in begun
    assert info.state.length in (
        {6} if "append-child" in done else {3, 6} if "append-child" in begun else {3}
    )
    check_frames(memory, CHILD, info.state.length)


def check_frames(memory: MemoryEngine, key: VideoKey, length: int) -> None:
    """All frames are found by an exact search, whatever their epochs, and hold what was written."""
    one = query(k=100, like=50)
    (hits,) = memory.search(key, [one], log=False).hits
    found = tuple(hit.handle.frame for hit in hits), tuple(hit.score for hit in hits)
    assert found == oracle(embeddings(0, length), one.embedding, 100, ALL)
    for frame in memory.fetch([hit.handle for hit in hits]) if hits else ():
        assert bytes(frame.parts["latent"]) == latents(frame.handle.frame, 1)[0]


def there(memory: MemoryEngine, key: VideoKey) -> VideoInfo | None:
    try:
        return memory.get_video(key)
    except NotFound:
        return None


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_a_crash_in_place_of_any_call_leaves_each_verb_done_or_not(
    injector: Injector, tmp_path: Path, stride: int
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    calls, done = 0, list[str]()
    while done != STEPS:
        disk, shadow, killed = (tmp_path / f"{name}-{calls}" for name in ("disk", "shadow", "killed"))
        disk.mkdir()
        injector.watch(disk, shadow)
        done = run_until(injector, disk / "data", calls)
        subprocess.run(["cp", "-a", disk, killed], check=True)  # hard links stay what they are
        lose_power(disk, shadow, rng)
        for left in (killed / "data", disk / "data"):
            if left.exists():
                check(left, done)
            else:
                assert not done
        for folder in (killed, disk, shadow):
            shutil.rmtree(folder)
        calls += rng.randint(1, 2 * stride - 1)
    assert calls > 40, "a script of this length makes more calls"
