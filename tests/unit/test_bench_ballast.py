"""How the benchmark makes free memory ready, and where it stops."""

import mmap
import subprocess
import sys
from itertools import count

import pytest

from benchmarks.ballast import LIMIT_S, WHOLE_SHARE, Ballast, Free, free_memory, reported_bytes
from benchmarks.report import markdown
from benchmarks.rows import Results

HUGE, MIB, GB = 2 << 20, 1 << 20, 10**9

BUDDYINFO = """\
Node 0, zone      DMA      1      0      0      0      0      0      0      0      0      0      0
Node 0, zone   Normal      2      3      0      0      0      0      0      0      1      5      7
"""


def test_whole_blocks_are_those_of_the_reported_size_and_larger():
    page = HUGE // 512
    small = page * (1 + 2 + 3 * 2 + 256)
    whole = page * (5 * 512 + 7 * 1024)
    assert free_memory(HUGE, BUDDYINFO) == Free(small + whole, whole)
    assert free_memory(HUGE // 2, BUDDYINFO).whole_bytes == whole + page * 256


def test_it_ends_when_few_enough_blocks_are_whole(tmp_path):
    ballast = Ballast(HUGE, tmp_path, free=lambda: Free(GB, GB - ballast.taken_bytes))
    ballast.top_up()
    assert WHOLE_SHARE * GB <= ballast.taken_bytes < WHOLE_SHARE * GB + 64 * MIB
    before = ballast.taken_bytes
    ballast.top_up()
    assert ballast.taken_bytes == before


def test_it_ends_where_taking_does_not_help_after_as_much_as_there_was(tmp_path):
    ballast = Ballast(HUGE, tmp_path, free=lambda: Free(256 * MIB, 256 * MIB))
    ballast.top_up()
    assert ballast.taken_bytes == 128 * MIB


def test_it_ends_when_its_time_is_up_and_says_how_far_it_is(tmp_path, capsys):
    clock = count(0, LIMIT_S / 2)
    ballast = Ballast(HUGE, tmp_path, free=lambda: Free(100 * GB, 100 * GB), clock=lambda: float(next(clock)))
    ballast.top_up()
    assert ballast.taken_bytes == 2 * 64 * MIB
    assert "50.0 GB to go" in capsys.readouterr().err


def test_what_was_free_stands_in_the_report(tmp_path):
    ballast = Ballast(HUGE, tmp_path, free=lambda: Free(GB, GB // 2))
    assert ballast.words() == ""
    ballast.ready("peers")
    ballast.ready("growth to 480")
    assert ballast.taken_bytes == 0
    assert not list(tmp_path.iterdir())
    text = markdown(Results(memory=ballast.words()), "a machine", "versions", "command", "2026-01-01")
    assert "peers 1.0 GB (0.5 GB), growth to 480 1.0 GB (0.5 GB)." in text


def test_pieces_are_touched_until_whole_blocks_would_be_next(tmp_path):
    seen = count()
    ballast = Ballast(HUGE, tmp_path, free=lambda: Free(400 * GB, (100 - next(seen)) * GB))
    ballast.ready("peers")
    assert next(seen) < 10


def test_where_nothing_is_given_back_nothing_is_held_or_told(tmp_path):
    ballast = Ballast(None, tmp_path, free=lambda: Free(GB, GB))
    ballast.ready("peers")
    assert ballast.taken_bytes == 0
    assert ballast.words() == ""
    assert "gives free memory back" not in markdown(Results(), "a machine", "versions", "command", "today")


@pytest.mark.parametrize("text", ["-1\n", "", "words"])
def test_a_machine_that_reports_nothing(tmp_path, monkeypatch, text):
    order = tmp_path / "order"
    monkeypatch.setattr("benchmarks.ballast._ORDER", order)
    assert reported_bytes() is None
    order.write_text(text)
    assert reported_bytes() is None


def test_reported_blocks_need_huge_pages_to_be_asked_for(tmp_path, monkeypatch):
    order, huge = tmp_path / "order", tmp_path / "huge"
    monkeypatch.setattr("benchmarks.ballast._ORDER", order)
    monkeypatch.setattr("benchmarks.ballast._HUGE_PAGES", huge)
    order.write_text("0\n")
    assert reported_bytes() is None
    huge.mkdir()
    assert reported_bytes() == mmap.PAGESIZE


def test_the_option_exists():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--no-fill" in text
    assert "pages" in text
