"""What the benchmark reads again before a round."""

import os
from pathlib import Path

import pytest

from benchmarks.cache import read_again

MIB = 1 << 20


def test_all_that_was_written_is_read_and_nothing_else(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "whole").write_bytes(os.urandom(9 * MIB))
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert read_again(tmp_path) == 9 * MIB
    with (tmp_path / "ahead").open("wb") as file:
        file.write(os.urandom(MIB))
        file.flush()
        try:
            os.posix_fallocate(file.fileno(), 0, 64 * MIB)
        except OSError:
            pytest.skip("this file system allocates nothing in advance")
        os.fsync(file.fileno())
        if os.lseek(file.fileno(), 0, os.SEEK_HOLE) > MIB:
            pytest.skip("this file system does not tell data from allocated room")
    assert read_again(tmp_path) == 10 * MIB
