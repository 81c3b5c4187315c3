"""The table of a run, with the machine it ran on and the floor of the same run."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.generators import VERBS, Seconds
from benchmarks.workload import BYTES_PER_STEP, EMBEDDING_DIM


def machine() -> str:
    """One line that names the processor, the cores this process may use, memory and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )


def copy_rate(num_bytes: int = 64 << 20, repeats: int = 9) -> float:
    """Bytes per second of a large copy on one thread, the median of `repeats`."""
    source, target = np.ones(num_bytes, np.uint8), np.zeros(num_bytes, np.uint8)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return num_bytes / float(np.median(seconds))


def read_rate(num_bytes: int = 64 << 20, repeats: int = 9) -> float:
    """Bytes per second of a large dot product with itself on one thread, the median of `repeats`."""
    source = np.ones(num_bytes // 4, np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.dot(source, source)
        seconds.append(time.perf_counter() - start)
    return num_bytes / float(np.median(seconds))


def floor_ms(history: int, copied: float, read: float) -> dict[str, float]:
    """Least time of each verb in ms: bytes that must be copied or read once, at rates in bytes per second."""
    floor = {verb: num_bytes / copied for verb, num_bytes in BYTES_PER_STEP.items()}
    floor["search"] = history * EMBEDDING_DIM * 4 / read
    floor["advance"] = sum(floor.values())
    return {verb: 1e3 * seconds for verb, seconds in floor.items()}


def markdown(runs: Mapping[tuple[int, int], Mapping[str, Seconds]]) -> str:
    """`runs` maps (history, number of generators) to target name to verb to seconds."""
    copied, read = copy_rate(), read_rate()
    lines = [
        f"Machine: {machine()}. One thread copies {copied / 1e9:.1f} GB/s and reads {read / 1e9:.1f} GB/s. "
        f"{time.strftime('%Y-%m-%d')}, `make bench`.",
        "",
        "Milliseconds, p50 / p99 over all generators of a row. `numpy`: preallocated arrays in the",
        "generator's own process, nothing kept, latents in a ring of 480. `engine`: the memory embedded in",
        "the process. `tcp`, `unix`: a memory service in another process. Advance is append, search and",
        "fetch in one call. `floor`: the bytes that one step must copy or read, at the rates above.",
        "",
        "| history | generators | target | Append | Search | Fetch | Advance | Advance / numpy |",
        "|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for (history, num_generators), targets in runs.items():
        baseline = float(np.median(targets["numpy"]["advance"]))
        floor = floor_ms(history, copied, read)
        cells = " | ".join(f"{floor[verb]:.2f}" for verb in VERBS)
        lines.append(
            f"| {history} | {num_generators} | floor | {cells} | {floor['advance'] / 1e3 / baseline:.1f} |"
        )
        for name, seconds in targets.items():
            cells = " | ".join(_p50_p99(seconds[verb]) for verb in VERBS)
            ratio = float(np.median(seconds["advance"])) / baseline
            lines.append(f"| {history} | {num_generators} | {name} | {cells} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


def _p50_p99(seconds: list[float]) -> str:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return f"{p50:.2f} / {p99:.2f}"
