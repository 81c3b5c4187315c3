import argparse
import io

import pytest
from rich.console import Console

from generator.__main__ import main
from generator.batch.batch import worker_command
from generator.batch.board import BarBoard, LineBoard, Tally, board_for
from generator.batch.summary import retrievals_of, timings_of
from generator.batch.worker import device_of
from generator.commands.batch import methods, seeds
from generator.options.groups import parser
from generator.records.record import BlockRecord, RetrievedFrame, RolloutRecord


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("3,0,3", (3, 0)),
        ("0-3", (0, 1, 2, 3)),
        ("7,2-4,3", (7, 2, 3, 4)),
        ("18446744073709551616",) * 2,
    ],
)
def test_seeds(text, expected):
    assert seeds(text) == (expected if isinstance(expected, tuple) else (int(expected),))


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "3-1", "1,", "0-", "0-99999999999", "1.5", "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_what_is_no_list_of_seeds(text):
    with pytest.raises(argparse.ArgumentTypeError):
        seeds(text)


def test_methods():
    assert methods("native,longlive_rag,native") == ("native", "longlive_rag")
    for text in ("", "mine", "native,"):
        with pytest.raises(argparse.ArgumentTypeError, match="longlive_rag"):
            methods(text)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["p.txt", "--workers", "0"],
        ["p.txt", "--workers", "x"],
        ["p.txt", "--memory", "embedded:out/memory"],
        ["p.txt", "--methods", "mine"],
        ["p.txt", "--seeds", "one"],
    ],
)
def test_a_wrong_command_line_exits_with_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["batch", *words])
    assert "usage: reverie-generate batch" in capsys.readouterr().err


def test_a_list_that_is_not_there_exits_with_1_and_makes_nothing(tmp_path, capsys):
    assert main(["batch", str(tmp_path / "none.txt"), "--out", str(tmp_path / "out")]) == 1
    assert "none.txt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_workers_read_the_same_options():
    words = ["batch", "p.txt", "--seeds", "0-2", "--device", "cuda:0,cuda:1", "--threads", "3", "-K", "4"]
    options = parser().parse_args(words, argparse.Namespace(words=words))
    command = worker_command(options, "127.0.0.1:7")(2)
    assert command[1:3] == ["-m", "generator"]
    theirs = vars(parser().parse_args(command[3:]))
    assert {**theirs, "words": words} == {**vars(options), "worker": 2, "memory": "127.0.0.1:7"}


def test_workers_take_turns_on_devices():
    assert [device_of("cuda:0,cuda:1", worker) for worker in (1, 2, 3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device_of("cpu", 5) == "cpu"


def test_threads_do_not_depend_on_the_number_of_workers():
    assert parser().parse_args(["batch", "p.txt", "--workers", "5"]).threads == 1
    assert parser().parse_args(["batch", "p.txt", "--threads", "5"]).threads == 5


def play(board):
    with board:
        board.begin(1, "village")
        board.begin(2, "forest")
        board.advance(1, 15)
        board.advance(2, 30)
        board.end(2, "forest", "done")
        board.end(1, "village", "lost, will be tried again")
        board.begin(2, "village")
        board.advance(2, 30)
        board.end(2, "village", "done")
        board.begin(1, "castle")
        board.end(1, "castle", "failed")
        board.lose(1, "worker 1 is out of paint")


def test_lines_of_workers_and_of_all():
    lines, now = [], iter(range(100))
    play(LineBoard(lines.append, Tally(4, 30, clock=lambda: float(next(now)))))
    assert "worker 1: village: 0/30 frames" in lines
    assert "worker 1: village: lost, will be tried again" in lines
    assert [line for line in lines if line.startswith("all: ")] == [
        "all: 1/4 videos, 2 s left",
        "all: 1/4 videos, 6 s left",
        "all: 2/4 videos, 3 s left",
        "all: 2/4 videos, 1 failed, 1 s left",
    ]
    assert lines[-1] == "worker 1 is out of paint"


def test_bars_of_workers_and_of_all():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    play(BarBoard(console, Tally(4, 30), 2))
    printed = console.file.getvalue()
    last = printed.rpartition("\x1b[2Kall")[2]
    assert "90/120 frames" in last
    assert "2/4 videos, 1 failed" in last
    assert "worker 1: castle" in last
    assert "worker 2: village" in last
    assert "out of paint" in printed


def test_bars_only_where_someone_watches():
    tally = Tally(1, 3)
    assert isinstance(board_for(Console(file=io.StringIO(), force_terminal=True), tally, 1), BarBoard)
    assert isinstance(board_for(Console(file=io.StringIO()), tally, 1), LineBoard)


def record_of(*blocks):
    return RolloutRecord(
        pool="p",
        video="v",
        method="m",
        prompt="p",
        seed=0,
        latent_fps=4.0,
        fps=16.0,
        settings={},
        versions={},
        blocks=blocks,
    )


def test_a_record_in_a_few_numbers():
    hits = [RetrievedFrame(pool="p", video="v", epoch=1, frame=f, score=s) for f, s in ((3, 0.5), (1, 0.25))]
    blocks = (
        BlockRecord(start=0, stop=3, parts_ms={"total": 10.0, "denoise": 8.0}),
        BlockRecord(
            start=18, stop=21, parts_ms={"total": 20.0, "denoise": 9.0, "wait": 1.0}, retrieved=tuple(hits)
        ),
        BlockRecord(start=21, stop=24, parts_ms={"total": 30.0, "denoise": 10.0}, retrieved=(hits[0],)),
    )
    record = record_of(*blocks)
    assert timings_of(record) == {
        "blocks": 3,
        "mean_ms": {"denoise": 9.0, "total": 20.0, "wait": pytest.approx(1 / 3)},
    }
    assert retrievals_of(record) == {
        "blocks": 2,
        "frames": 3,
        "distinct_frames": 2,
        "oldest_frames_ago": 18,
        "mean_score": pytest.approx(1.25 / 3),
    }
    assert retrievals_of(record_of(blocks[0]))["mean_score"] is None
