"""Figures of the benchmark from samples whose answer is known."""

import math
import os
import subprocess
import sys
import time

import pytest

from benchmarks.measures import Sample, exponent, together
from benchmarks.meter import anonymous_bytes, cpu_seconds, disk_bytes, family


def test_exponent_of_powers():
    assert exponent({480: 2.0, 4800: 20.0, 48_000: 200.0}) == pytest.approx(1.0)
    assert exponent({480: 3.0, 4800: 3.0, 48_000: 3.0}) == pytest.approx(0.0)
    assert exponent({10: 1.0, 1000: 10.0}) == pytest.approx(0.5)


def test_exponent_is_the_least_squares_fit():
    assert exponent({1: 1.0, 10: 10.0, 100: 10.0}) == pytest.approx(0.5)


def test_percentiles_and_recall():
    sample = Sample({"step": [i / 100 for i in range(101)]}, found=11, expected=12)
    assert sample.p(50) == pytest.approx(0.5)
    assert sample.p(99) == pytest.approx(0.99)
    assert math.isnan(sample.p(50, "append"))
    assert sample.recall == pytest.approx(11 / 12)
    assert math.isnan(Sample().recall)


def test_rounds_add_up():
    total = Sample()
    total.add(Sample({"step": [1.0, 3.0], "append": [0.5]}, 0.2, 0.4, 4.0, 5, 6))
    total.add(Sample({"step": [2.0]}, 0.1, 0.2, 2.0, 6, 6))
    assert total.seconds == {"step": [1.0, 3.0, 2.0], "append": [0.5]}
    assert total.cpu_per_step == pytest.approx(0.3)
    assert total.steps_per_second == pytest.approx(0.5)
    assert (total.found, total.expected) == (11, 12)


def test_samples_of_the_same_time_share_its_wall_and_the_server():
    one = Sample({"step": [1.0, 1.0]}, client_cpu=0.5, server_cpu=9.0, wall=2.0)
    pooled = together([one, one], wall=2.5, server_cpu=1.0)
    assert pooled.num_steps == 4
    assert pooled.steps_per_second == pytest.approx(1.6)
    assert pooled.cpu_per_step == pytest.approx(0.5)


def test_cpu_and_memory_of_another_process_are_seen():
    code = "import time; b = b'x' * (50 << 20); t = time.process_time()\n"
    code += "while time.process_time() - t < 0.3: pass\nprint('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        before = cpu_seconds([process.pid])
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.25 < cpu_seconds([process.pid]) - before < 3
        assert 50 << 20 < anonymous_bytes([process.pid]) < 200 << 20
        assert process.pid in family([os.getpid()])
        process.communicate(b"\n")
    assert cpu_seconds([process.pid]) == 0
    assert process.pid not in family([os.getpid()])


def test_cpu_of_a_sleeping_process_stands_still():
    before = cpu_seconds([os.getpid()])
    time.sleep(0.2)
    assert cpu_seconds([os.getpid()]) - before < 0.1


def test_disk_bytes_are_what_files_occupy(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "full").write_bytes(os.urandom(1 << 20))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["sync", str(tmp_path / "sub" / "full")], check=True)
    assert 1 << 20 <= disk_bytes(tmp_path) < 2 << 20
