"""Where a run took place: figures without it mean nothing."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers import PEERS

_COMMANDS = {"redis-server": ("redis-server", "--version"), "cc": ("cc", "--version")}


def machine(data: Path) -> str:
    """Processor, usable cores, memory, kernel, file system of `data`, load before the run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = f"load {os.getloadavg()[0]:.1f} before the run"
    kernel = f"{platform.system()} {platform.release()}"
    python = f"Python {platform.python_version()}"
    return f"{model}, {cores} cores, {gib:.0f} GiB, {kernel}, {file_system(data)}, {python}, {load}"


def file_system(path: Path) -> str:
    """Type and device of the file system that holds `path`."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, point, kind = line.split()[:3]
        inside = path.resolve().is_relative_to(point)
        if inside and len(point) >= len(best[0]):
            best = (point, f"{kind} on {device}")
    return best[1]


def versions() -> str:
    """Versions of everything that was measured and is installed."""
    names = {"numpy", *(name for kind in PEERS.values() for name in kind.packages)}
    found = []
    for name in sorted(names):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found + [line for line in map(_first_line, _COMMANDS.values()) if line])


def _first_line(command: tuple[str, ...]) -> str:
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return output.splitlines()[0][:60]
