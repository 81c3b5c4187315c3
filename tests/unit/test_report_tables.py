from io import StringIO

import pytest
from rich.console import Console

from generator.records.record import BlockRecord, RetrievedFrame, RolloutRecord
from generator.records.revisit import RevisitScore
from generator.report import revisit_table, time_table
from generator.report.table import Table


def block(start, **parts_ms):
    hit = RetrievedFrame(pool="demo", video="a", epoch=1, frame=1, score=0.5)
    return BlockRecord(start=start, stop=start + 3, parts_ms=parts_ms, retrieved=(hit,))


def record(method, *blocks):
    return RolloutRecord(
        pool="demo",
        video=f"a-{method}",
        method=method,
        prompt="a village",
        seed=0,
        latent_fps=4.0,
        fps=4.0,
        settings={"window_frames": 12},
        versions={},
        blocks=blocks,
        camera_cells=(0, 1, 2),
    )


STEADY = {"fetch": 2.0, "denoise": 50.0, "encode": 3.0, "recache": 20.0, "wait": 1.0}
STEADY |= {"advance": 8.0, "service_search": 1.0}


def test_parts_in_turn_and_other_make_up_the_block():
    mean = time_table.mean_parts([record("native", block(24, **STEADY, total=80.0))])["native"]
    assert sum(mean[part] for part in (*time_table.IN_TURN, "other")) == pytest.approx(mean["total"])
    assert mean["other"] == pytest.approx(4.0)


def test_blocks_of_a_growing_context_are_left_out():
    blocks = (block(0, total=999.0, denoise=999.0), block(24, total=10.0), block(27, total=30.0))
    assert time_table.mean_parts([record("native", *blocks)])["native"]["total"] == 20.0


def test_a_short_rollout_counts_all_blocks():
    assert time_table.mean_parts([record("native", block(0, total=7.0))])["native"]["total"] == 7.0


def test_shares_are_of_the_whole_block():
    drawn = time_table.table(
        [
            record("native", block(24, **STEADY, total=80.0)),
            record("mine", block(24, denoise=5.0, total=10.0)),
        ]
    )
    assert drawn.header == ("part", "native", "mine")
    rows = {row[0]: row[1:] for row in drawn.rows}
    assert rows["denoise"] == ("50.00   62.5 %", "5.00   50.0 %")
    assert rows["whole block"] == ("80.00  100.0 %", "10.00  100.0 %")
    assert (rows["append (1)"][0], rows["search (2)"][0]) == ("7.00    8.8 %", "1.00    1.2 %")


def test_a_record_survives_its_file(tmp_path):
    written = record("longlive_rag", block(24, **STEADY, total=80.0))
    written.write(tmp_path / "a.json")
    assert RolloutRecord.read(tmp_path / "a.json") == written
    assert written.num_frames == 27


def test_revisit_rows_are_grouped_by_prompt_and_averaged():
    scores = {
        (prompt, method): RevisitScore(num_frames=10, psnr_db=psnr, elsewhere_db=15.0, detail_ratio=0.9)
        for prompt, method, psnr in (
            ("a", "native", 16.0),
            ("a", "longlive_rag", 20.0),
            ("b", "native", 18.0),
            ("b", "longlive_rag", 24.0),
        )
    }
    drawn = revisit_table.table(scores)
    assert [row[:2] for row in drawn.rows] == [
        (name, method) for name in ("a", "b", "all") for method in ("LongLive-RAG", "native")
    ]
    assert drawn.rows[4][3:6] == ("22.00", "15.00", "+7.00")


def test_the_same_table_in_markdown_and_in_a_terminal():
    drawn = Table(title="Times", header=("part", "ms"), rows=[("denoise", "1.5")], note="Means.")
    assert drawn.markdown().splitlines() == [
        "## Times",
        "",
        "| part | ms |",
        "| --- | ---: |",
        "| denoise | 1.5 |",
        "",
        "Means.",
    ]
    console = Console(width=80, record=True, file=StringIO())
    console.print(drawn.rich())
    shown = console.export_text()
    assert all(word in shown for word in ("Times", "denoise", "1.5", "Means."))


def test_ragged_rows_are_refused():
    with pytest.raises(ValueError, match="2 cells"):
        Table(title="t", header=("a", "b"), rows=[("x",)])
