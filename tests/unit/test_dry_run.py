"""What blocks attend, against traces of the reference implementations and against docs/methods.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generator.__main__ import main
from generator.configs import Window
from generator.errors import ConfigError
from generator.methods import POLICIES
from generator.methods.context import Scenes
from generator.methods.deep_forcing import DeepForcing, DeepSink
from generator.requests.dry_run import Row, rows, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "methods.md"
SCENES = Scenes(switches=frozenset({5, 10}), cuts=frozenset({10}))


def at(method: str, start: int, window: Window | None = None, scenes: Scenes = SCENES) -> Row:
    policy = POLICIES[method]
    made = rows(policy, window or policy.window(Window()), start // 3 + 1, scenes)
    return list(made)[-1]


@pytest.mark.parametrize(
    ("method", "start", "attended", "queries", "keys"),
    [
        ("native", 12, "0 4-11 c12-14", "12-14", "0 4-11 c12-14"),
        ("native", 117, "0 109-116 c117-119", "117-119", "0 109-116 c117-119"),
        ("relative", 117, "0 109-116 c117-119", "9-11", "0 1-8 c9-11"),
        ("longlive_rag", 9, "0 7-8 c9-11", "9-11", "0 7-8 c9-11"),
        ("longlive_rag", 18, "0 {1 of 1} 16-17 c18-20", "9-11", "0 {0 x1} 7-8 c9-11"),
        ("longlive_rag", 21, "0 {4 of 1-4} 19-20 c21-23", "9-11", "0 {0 x4} 7-8 c9-11"),
        ("longlive_rag", 24, "0 {6 of 1-7} 22-23 c24-26", "9-11", "0 {0 x6} 7-8 c9-11"),
        ("longlive_rag", 117, "0 {6 of 1-100} 115-116 c117-119", "9-11", "0 {0 x6} 7-8 c9-11"),
        ("infinity_rope", 3, "0 1-2 c3-5", "3-5", "0 1-2 c3-5"),
        ("infinity_rope", 6, "0 4-5 c6-8", "3-5", "0 1-2 c3-5"),
        ("infinity_rope", 30, "0 28-29 c30-32", "45-47", "0 1-2 c45-47"),
        ("infinity_rope", 33, "0 31-32 c33-35", "3-5", "0 1-2 c3-5"),
        ("deep_sink", 18, "0-13 14-17 c18-20", "18-20", "0-13 14-17 c18-20"),
        ("deep_sink", 21, "0-13 17-20 c21-23", "21-23", "0-13 17-20 c21-23"),
        ("deep_sink", 24, "0-13 20-23 c24-26", "24-26", "3-16 20-23 c24-26"),
        ("deep_forcing", 18, "0-9 10-17 c18-20", "18-20", "0-9 10-17 c18-20"),
        ("deep_forcing", 21, "0-9 {2 F tokens} 20 c21-23", "21-23", "5-14 {own} 20 c21-23"),
        ("deep_forcing", 24, "0-9 {2 F tokens} 20-23 c24-26", "24-26", "5-14 {own} 20-23 c24-26"),
        ("deep_forcing", 27, "0-9 {2 F tokens} 26 c27-29", "27-29", "11-20 {own} 26 c27-29"),
        ("deep_forcing", 45, "0-9 {2 F tokens} 44 c45-47", "45-47", "29-38 {own} 44 c45-47"),
    ],
)
def test_blocks_attend_what_the_reference_does(
    method: str, start: int, attended: str, queries: str, keys: str
) -> None:
    """Traces of instrumented reference code; the 29 of the last row is its own `sink_base` at that block."""
    row = at(method, start)
    assert (row.attended, row.queries, row.keys) == (attended, queries, keys)


def test_a_flush_of_a_wider_window_parts_queries_from_keys() -> None:
    window = Window(window_frames=12, sink_frames=1, top_k=0)
    assert at("infinity_rope", 12, window, Scenes()).keys == "0 1-8 c9-11"
    flushed = at("infinity_rope", 15, window)
    assert (flushed.attended, flushed.queries, flushed.keys) == ("0 13-14 c15-17", "9-11", "0 1-2 c3-5")


@pytest.mark.parametrize(
    ("window", "switches", "start", "attended"),
    [
        # The last slots have not been written since the first flush: they still hold what it left there.
        (Window(window_frames=12, sink_frames=1), {5, 6}, 15, "0 13-14 c15-17"),
        (Window(window_frames=12, sink_frames=1), {5, 6}, 18, "0 13-14 c18-20"),
        # Only the first slot outlives a flush; those after it become the sink.
        (Window(window_frames=12, sink_frames=3), {5}, 15, "0 13-14 c15-17"),
        (Window(window_frames=12, sink_frames=3), {5}, 30, "0 13-14 24-29 c30-32"),
        (Window(window_frames=6, sink_frames=0), {5}, 15, "9 13-14 c15-17"),
        # A window that was never full: the newest frames, where the code would read zeros.
        (Window(window_frames=12, sink_frames=1), {2}, 6, "0 4-5 c6-8"),
    ],
)
def test_a_flush_copies_from_the_end_of_the_window(
    window: Window, switches: set[int], start: int, attended: str
) -> None:
    assert at("infinity_rope", start, window, Scenes(frozenset(switches))).attended == attended


def test_evicted_frames_are_counted_and_events_named() -> None:
    assert [at("native", start).evicted for start in (9, 12, 15)] == [0, 3, 6]
    assert at("infinity_rope", 30).note == "new prompt, cut"
    assert at("deep_forcing", 21).note == "compresses 10-19"
    assert at("deep_forcing", 24).note == ""


@pytest.mark.parametrize(
    ("method", "window", "start", "queries", "keys"),
    [
        # A window that is not of whole blocks: the sink moves by blocks from the first one that overflows.
        ("deep_sink", Window(window_frames=20, sink_frames=14, top_k=0), 18, "18-20", "0-13 15-17 c18-20"),
        ("deep_sink", Window(window_frames=20, sink_frames=14, top_k=0), 21, "21-23", "3-16 18-20 c21-23"),
        # The first move of the sink is 21 less the budget, whatever the window.
        (
            "deep_forcing",
            Window(window_frames=24, sink_frames=10, top_k=0),
            24,
            "24-26",
            "5-14 {own} 23 c24-26",
        ),
        # Queries follow the frame until the window is full.
        ("infinity_rope", Window(window_frames=12, sink_frames=1, top_k=0), 6, "6-8", "0 1-5 c6-8"),
    ],
)
def test_windows_that_their_authors_did_not_use(
    method: str, window: Window, start: int, queries: str, keys: str
) -> None:
    row = at(method, start, window, Scenes())
    assert (row.queries, row.keys) == (queries, keys)


def test_a_story_may_begin_with_a_cut() -> None:
    row = at("infinity_rope", 0, scenes=Scenes(frozenset({0}), frozenset({0})))
    assert (row.attended, row.queries, row.keys) == ("c0-2", "45-47", "c45-47")


@pytest.mark.parametrize(
    ("policy", "window", "num_blocks", "reason"),
    [
        (DeepForcing("d"), Window(window_frames=15, sink_frames=10, top_k=0), 8, "fit the window of 15"),
        (DeepForcing("d"), Window(window_frames=21, sink_frames=13, top_k=0), 8, "13 sink and 4 recent"),
        (DeepForcing("d", recent_frames=2), Window(window_frames=21, sink_frames=10), 8, "hold a block"),
        (DeepForcing("d", budget_frames=24), Window(window_frames=30, sink_frames=10), 8, "at most 21"),
        (DeepForcing("d"), Window(window_frames=21, sink_frames=10), 342, "needs 1026 temporal positions"),
        (DeepSink("d"), Window(window_frames=21, sink_frames=14), 342, "needs 1026 temporal positions"),
        (POLICIES["native"], Window(), 342, "needs 1026 temporal positions"),
        (POLICIES["relative"], Window(window_frames=1025), 1, "needs 1025 temporal positions"),
        (POLICIES["longlive_rag"], Window(window_frames=1025), 1, "needs 1025 temporal positions"),
        (POLICIES["infinity_rope"], Window(window_frames=1025), 1, "needs 1025 temporal positions"),
    ],
)
def test_a_window_that_the_method_cannot_run_is_refused(policy, window, num_blocks, reason) -> None:
    with pytest.raises(ConfigError, match=reason):
        policy.check(window, num_blocks * window.block_frames)


def test_the_longest_video_of_absolute_positions_is_allowed() -> None:
    POLICIES["native"].check(Window(), 1023)
    POLICIES["relative"].check(Window(window_frames=1024), 3000)


def test_a_cut_without_another_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[3\] have none"):
        Scenes(frozenset({2}), frozenset({3}))


def test_a_terminal_shows_a_row_per_block() -> None:
    policy = POLICIES["native"]
    drawn = table(policy, Window(), rows(policy, Window(), 4))
    assert drawn.row_count == 4


def test_the_command_line_prints_it_without_weights(capsys) -> None:
    words = ["--prompt", "a", "--prompt", "5b:b", "--prompt", "10b#:c", "--frames", "36"]
    methods = ["--method", "longlive_rag", "infinity_rope", "deep_forcing"]
    assert main(["run", "--dry-run", "--weights", "/nowhere", *words, *methods]) == 0
    printed = capsys.readouterr().out
    for method in methods[1:]:
        for row in rows(POLICIES[method], POLICIES[method].window(Window()), 12, SCENES):
            assert row.attended in printed
    assert printed.count("new prompt, cut") == 3
    assert main(["run", "--dry-run", "-W", "3", "--frames", "9"]) == 1
    for frames in ("0", "37"):
        assert main(["run", "--dry-run", "--frames", frames]) == 1
        assert f"frames must be a positive multiple of 3, got {frames}" in capsys.readouterr().err
    assert main(["run", "--dry-run", "--method", "native", "--frames", "1026"]) == 1


def documented() -> dict[str, dict[int, tuple[str, ...]]]:
    """Method -> t -> the other cells of its row in the document."""
    tables = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        name = section.split("`")[1]
        found = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
        tables[name] = {int(start): tuple(cells) for start, *cells in found}
    return tables


@pytest.mark.parametrize("method", POLICIES)
def test_the_document_says_what_the_program_does(method: str) -> None:
    told = documented()[method]
    assert len(told) >= 9
    for start, cells in told.items():
        row = at(method, start)
        assert cells == (row.attended, row.queries, row.keys, row.note)
