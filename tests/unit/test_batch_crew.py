"""Crews of real processes that keep to the protocol and make nothing."""

import sys
import time

import pytest

from generator.batch.board import LineBoard, Tally
from generator.batch.crew import Crew
from generator.batch.messages import Order, Outcome
from generator.processes.process import ProcessError

WORKER = """
import json, os, sys
number, notes = sys.argv[1], sys.argv[2]
def tell(**message): print(json.dumps(message), flush=True)
if number in sys.argv[3:]:
    sys.exit("no room for " + number)
tell(event="ready")
for line in sys.stdin:
    order = json.loads(line)
    tell(event="begin", label=order["name"])
    seen = os.path.join(notes, order["name"])
    before = os.path.exists(seen)
    open(seen, "a").write(number)
    tell(event="advance", label=order["name"], frames=3)
    if order["method"] == "poison" or order["method"] == "unlucky" and not before:
        print("goodbye", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if order["method"] == "refused":
        tell(event="outcome", reason="ValueError: refused")
    else:
        tell(event="outcome", seconds=float(order["drop"]), files={})
"""


class Notes:
    """A book that remembers."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, int]] = []
        self.outcomes: dict[str, Outcome] = {}

    def started(self, name: str, attempt: int) -> None:
        self.starts.append((name, attempt))

    def ended(self, name: str, outcome: Outcome) -> None:
        assert name not in self.outcomes
        self.outcomes[name] = outcome


def order(name, method="plain"):
    return Order(name=name, prompt="p", seed=0, method=method, drop=False)


def work(tmp_path, orders, size=2, broken=(), check=lambda: None):
    """Notes, lines, the crew's processes, of orders that were made."""
    notes, lines = Notes(), []
    board = LineBoard(lines.append, Tally(len(orders), 3))
    words = [str(number) for number in broken]
    crew = Crew(size, lambda n: [sys.executable, "-c", WORKER, str(n), str(tmp_path), *words], notes, board)
    with crew:
        crew.make(orders, check)
    return notes, lines


def test_every_order_is_made_once(tmp_path):
    names = [f"job{n}" for n in range(9)]
    notes, lines = work(tmp_path, [order(name) for name in names], size=3)
    assert notes.starts == [(name, 1) for name in names]
    assert set(notes.outcomes) == set(names)
    assert lines[-1] == "all: 9/9 videos, 0 s left"


def test_more_workers_than_orders_are_not_started(tmp_path):
    work(tmp_path, [order("only")], size=8)
    assert (tmp_path / "only").read_text() == "1"


def test_the_job_of_a_worker_that_died_is_tried_once_more_and_dropped_first(tmp_path):
    notes, lines = work(tmp_path, [order("a", "unlucky"), order("b")])
    assert sorted(notes.starts) == [("a", 1), ("a", 2), ("b", 1)]
    assert notes.outcomes["a"] == Outcome(seconds=1.0, files={})
    assert notes.outcomes["b"] == Outcome(seconds=0.0, files={})
    assert any(line.endswith("a: lost, will be tried again") for line in lines)
    assert lines[-1] == "all: 2/2 videos, 0 s left"


def test_a_job_that_takes_two_workers_down_has_failed_and_others_go_on(tmp_path):
    notes, lines = work(tmp_path, [order("a", "poison"), order("b"), order("c")], size=1)
    reason = notes.outcomes["a"].reason
    assert "2 workers died of it; the last one ended with signal 9" in reason
    assert "goodbye" in reason
    assert not notes.outcomes["b"].reason
    assert not notes.outcomes["c"].reason
    assert lines[-1] == "all: 2/3 videos, 1 failed, 0 s left"


def test_an_order_that_is_refused_is_not_tried_again(tmp_path):
    notes, _ = work(tmp_path, [order("a", "refused"), order("b")], size=1)
    assert notes.starts == [("a", 1), ("b", 1)]
    assert notes.outcomes["a"].reason == "ValueError: refused"


def test_a_worker_that_cannot_begin_is_missed_by_none(tmp_path):
    names = [f"job{n}" for n in range(20)]
    notes, lines = work(tmp_path, [order(name) for name in names], broken=[2])
    assert set(notes.outcomes) == set(names)
    assert all((tmp_path / name).read_text() == "1" for name in names)
    told = [line for line in lines if line.startswith("worker 2 ended")]
    assert len(told) <= 1, "the others may have been faster"


def test_a_crew_of_which_nobody_can_begin_says_why(tmp_path):
    with pytest.raises(ProcessError, match="ended with exit code 1 before it could begin") as caught:
        work(tmp_path, [order("a"), order("b")], broken=[1, 2])
    assert "no room for" in str(caught.value)


def test_what_the_check_raises_ends_all_at_once(tmp_path):
    end = time.monotonic() + 0.3

    def check():
        if time.monotonic() > end:
            raise ProcessError("the memory is gone")

    started = time.monotonic()
    with pytest.raises(ProcessError, match="the memory is gone"):
        work(tmp_path, [order(f"job{n}") for n in range(100_000)], check=check)
    assert time.monotonic() - started < 20
