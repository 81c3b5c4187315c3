"""The injector itself: no fault test means anything unless the calls of a Python process pass through it."""

import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from injection import CHANGES, SYNCS, Call, Injector, lose_power

PROBES = {
    Call.OPEN: "os.open(path, os.O_RDONLY)",
    Call.READ: "os.read(fd, 8)",
    Call.PREAD: "os.pread(fd, 8, 0)",
    Call.WRITE: "os.write(fd, b'x')",
    Call.PWRITE: "os.pwrite(fd, b'x', 0)",
    Call.FDATASYNC: "os.fdatasync(fd)",
    Call.FSYNC: "os.fsync(fd)",
    Call.FTRUNCATE: "os.ftruncate(fd, 8)",
    Call.FALLOCATE: "os.posix_fallocate(fd, 0, 64)",
    Call.RENAME: "os.rename(path, path + '.moved')",
    Call.LINK: "os.link(path, path + '.linked')",
    Call.UNLINK: "os.unlink(path)",
    Call.MMAP: "mmap.mmap(fd, 8)",
    Call.MKDIR: "os.mkdir(path + '.folder')",
}
VARIANTS = {
    "pwritev": (Call.PWRITE, "os.pwritev(fd, [b'x', b'y'], 0)"),
    "writev": (Call.WRITE, "os.writev(fd, [b'x', b'y'])"),
    "preadv": (Call.PREAD, "os.preadv(fd, [bytearray(2)], 0)"),
    "open()": (Call.OPEN, "open(path, 'rb', buffering=0)"),
    "openat": (
        Call.OPEN,
        "os.open(os.path.basename(path), os.O_RDONLY, dir_fd=os.open(os.path.dirname(path), 0))",
    ),
    "replace": (Call.RENAME, "os.replace(path, path + '.moved')"),
    "linkat": (Call.LINK, "os.link(path, path + '.linked', follow_symlinks=False)"),
    "Path.unlink": (Call.UNLINK, "pathlib.Path(path).unlink()"),
    "numpy.memmap": (Call.MMAP, "__import__('numpy').memmap(path, mode='r')"),
}
SCRIPT = """
import mmap, os, pathlib, sys
path = sys.argv[1]
fd = os.open(path, os.O_RDWR)
sys.stdin.readline()
try:
    {probe}
except OSError as exc:
    print(exc.errno)
else:
    print(0)
"""


def probed(injector: Injector, path: Path, probe: str) -> tuple[int, int]:
    """The errno that a call meets in a process, and how often a rule for it was seen, by its first rule."""
    path.write_bytes(b"content!")
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(probe=probe), str(path)],
        env=dict(injector.environment),
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return int(process.stdout), len(process.stderr)


@pytest.mark.parametrize("call", PROBES)
def test_every_family_of_calls_can_be_failed(injector: Injector, tmp_path: Path, call: Call) -> None:
    # The script itself opens the file once, before its probe.
    rule = injector.fail(call, errno.EIO, f"{tmp_path}/probe*", after=int(call is Call.OPEN))
    assert probed(injector, tmp_path / "probe", PROBES[call]) == (errno.EIO, 0)
    assert rule.fired == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_passes_through(injector: Injector, tmp_path: Path, name: str) -> None:
    call, probe = VARIANTS[name]
    injector.fail(call, errno.ENOSPC, f"{tmp_path}/probe*", after=int(call is Call.OPEN))
    assert probed(injector, tmp_path / "probe", probe) == (errno.ENOSPC, 0)


def test_other_paths_are_left_alone(injector: Injector, tmp_path: Path) -> None:
    rule = injector.fail(CHANGES, errno.EIO, f"{tmp_path}/elsewhere/*")
    for call in CHANGES:
        assert probed(injector, tmp_path / "probe", PROBES[call]) == (0, 0)
    assert (rule.matched, rule.fired) == (0, 0)


def test_a_rule_lets_some_pass_and_then_holds_for_some(injector: Injector, tmp_path: Path) -> None:
    rule = injector.fail(Call.PWRITE, errno.EIO, f"{tmp_path}/probe", after=2, count=1)
    for script, expected in (
        ("[os.pwrite(fd, b'x', 0) for _ in range(2)]", 0),
        ("os.pwrite(fd, b'x', 0)", 5),
    ):
        assert probed(injector, tmp_path / "probe", script)[0] == expected
    assert probed(injector, tmp_path / "probe", "os.pwrite(fd, b'x', 0)")[0] == 0
    assert (rule.matched, rule.fired) == (4, 1)


def test_writes_are_cut_short(injector: Injector, tmp_path: Path) -> None:
    injector.shorten(f"{tmp_path}/probe", to=3)
    for probe in ("os.pwritev(fd, [b'ab', b'cd', b'ef'], 0)", "os.pwrite(fd, b'abcdef', 0)"):
        assert probed(injector, tmp_path / "probe", f"assert {probe} == 3")[0] == 0
        assert (tmp_path / "probe").read_bytes() == b"abctent!"


def test_a_process_is_killed_in_place_of_a_call(injector: Injector, tmp_path: Path) -> None:
    injector.kill(SYNCS, f"{tmp_path}/probe", after=1)
    with pytest.raises(subprocess.CalledProcessError) as error:
        probed(injector, tmp_path / "probe", "os.fsync(fd), os.pwrite(fd, b'x', 0), os.fdatasync(fd)")
    assert error.value.returncode == -9
    assert (tmp_path / "probe").read_bytes() == b"xontent!"


def test_calls_are_delayed(injector: Injector, tmp_path: Path) -> None:
    injector.delay(Call.FDATASYNC, 0.3, f"{tmp_path}/probe")
    began = time.monotonic()
    probed(injector, tmp_path / "probe", "os.fdatasync(fd)")
    assert time.monotonic() - began > 0.3


def test_only_the_wall_clock_is_shifted(injector: Injector) -> None:
    injector.shift_clock(-86_400)
    code = (
        "import time, datetime; print(time.time(), time.time_ns() / 1e9, datetime.datetime.now().timestamp(),"
        " time.clock_gettime(time.CLOCK_REALTIME), time.monotonic())"
    )
    environment = dict(injector.environment)
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    *walls, steady = map(float, run.stdout.split())
    for wall in walls:
        assert time.time() - 86_500 < wall < time.time() - 86_390
    assert time.monotonic() - 100 < steady <= time.monotonic()


def test_a_page_that_is_given_up_shows_what_is_on_the_disk(injector: Injector, tmp_path: Path) -> None:
    path = tmp_path / "probe"
    injector.watch(tmp_path, tmp_path / "shadow")
    injector.reveal_disk(str(path))
    advise = "os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)"
    probe = f"os.pwrite(fd, b'old', 0), os.fdatasync(fd), os.pwrite(fd, b'new', 1), {advise}"
    assert probed(injector, path, probe) == (0, 0)
    assert path.read_bytes() == b"oldtent!"


def test_a_loss_of_power_takes_what_was_not_synced(injector: Injector, tmp_path: Path) -> None:
    """Contents need a sync of their file, names one of their directory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    injector.watch(disk, tmp_path / "shadow")
    code = """
import os, sys
disk = sys.argv[1]
def put(name, data, *sync):
    fd = os.open(os.path.join(disk, name), os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, data, 0)
    if sync: os.fdatasync(fd)
def sync(folder): os.fsync(os.open(folder, os.O_RDONLY))
put("kept", b"synced", 1)
os.mkdir(os.path.join(disk, "folder"))
put("folder/inside", b"synced", 1)
put("unsynced", b"lost")
sync(os.path.join(disk, "folder"))
sync(disk)
put("kept", b"s-nced")
put("nameless", b"synced", 1)
put("folder/nameless", b"synced", 1)
"""
    subprocess.run([sys.executable, "-c", code, str(disk)], env=dict(injector.environment), check=True)
    assert (disk / "nameless").exists()
    lose_power(disk, tmp_path / "shadow")
    left = {str(path.relative_to(disk)): path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    assert left == {"kept": b"synced", "folder/inside": b"synced", "unsynced": b""}
    lose_power(disk, tmp_path / "shadow", random.Random(0))
    assert (disk / "kept").read_bytes() == b"synced"
    assert os.listdir(disk / "folder") == ["inside"]
