"""Turns to be at work: bounded, in order, and no pool with all of them."""

import threading
import time

import pytest

from memory_service.cancellation import Cancellation
from memory_service.errors import Cancelled, DeadlineExceeded, Overloaded
from memory_service.serving.turns import Turns

SOON_S = 5.0


class Caller(threading.Thread):
    """Waits for its turn and notes what came of it."""

    def __init__(self, turns: Turns, pool: str, cancellation: Cancellation | None = None) -> None:
        super().__init__(daemon=True)
        self._turns = turns
        self._cancellation = cancellation or Cancellation()
        self.pool = pool
        self.has_turn = threading.Event()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._turns.enter(self.pool, self._cancellation)
        except Exception as exc:
            self.error = exc
        else:
            self.has_turn.set()

    def leave(self) -> None:
        assert self.has_turn.wait(SOON_S)
        self._turns.leave(self.pool, 0.001)


def waiting(turns: Turns, number: int) -> None:
    until = time.monotonic() + SOON_S
    while turns.waiting != number:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_one_pool_gets_three_quarters() -> None:
    turns = Turns(max_running=8, max_waiting=8)
    flood = [Caller(turns, "flood") for _ in range(10)]
    waiting(turns, 4)
    assert turns.running == 6
    other = Caller(turns, "other")
    assert other.has_turn.wait(SOON_S)
    assert turns.running == 7
    assert sum(one.has_turn.is_set() for one in flood) == 6


def test_more_are_refused_with_a_hint() -> None:
    turns = Turns(max_running=4, max_waiting=4)
    for _ in range(6):
        Caller(turns, "flood")
    waiting(turns, 3)
    with pytest.raises(Overloaded) as caught:
        turns.enter("flood", Cancellation())
    assert caught.value.retry_after_ms >= 1
    others = [Caller(turns, name) for name in ("a", "b")]
    waiting(turns, 4)
    with pytest.raises(Overloaded):
        turns.enter("c", Cancellation())
    assert sum(one.has_turn.is_set() for one in others) == 1


def test_who_waits_is_served_pool_by_pool() -> None:
    turns = Turns(max_running=1, max_waiting=16)
    turns.enter("first", Cancellation())
    callers = []
    for pool in ("a", "a", "a", "b", "c"):
        callers.append(Caller(turns, pool))
        waiting(turns, len(callers))
    turns.leave("first", 0.001)
    served = []
    while callers:
        served_now = next(one for one in iter(lambda: _with_turn(callers), None) if one is not None)
        served.append(served_now.pool)
        callers.remove(served_now)
        served_now.leave()
    assert served == ["a", "b", "c", "a", "a"]
    assert (turns.running, turns.waiting) == (0, 0)


def _with_turn(callers: list[Caller]) -> Caller:
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        for one in callers:
            if one.has_turn.is_set():
                return one
        time.sleep(0.001)
    raise AssertionError("nobody has a turn")


def test_a_deadline_that_passes_in_the_queue() -> None:
    turns = Turns(max_running=1, max_waiting=4)
    turns.enter("a", Cancellation())
    with pytest.raises(DeadlineExceeded):
        turns.enter("b", Cancellation(timeout_s=0.05))
    assert (turns.running, turns.waiting) == (1, 0)
    turns.leave("a", 0.001)
    turns.enter("b", Cancellation(timeout_s=0.05))


def test_a_caller_that_leaves_the_queue() -> None:
    turns = Turns(max_running=1, max_waiting=4)
    turns.enter("a", Cancellation())
    leaving = Cancellation()
    caller = Caller(turns, "b", leaving)
    waiting(turns, 1)
    leaving.end(Cancelled("gone"))
    caller.join(SOON_S)
    assert isinstance(caller.error, Cancelled)
    assert (turns.running, turns.waiting) == (1, 0)


def test_turns_are_neither_lost_nor_made() -> None:
    """Many threads, half of which give up: in the end every turn is back."""
    turns = Turns(max_running=3, max_waiting=64)
    most = 0

    def work(number: int) -> None:
        nonlocal most
        for step in range(50):
            cancellation = Cancellation(timeout_s=0.0005 if (number + step) % 2 else None)
            try:
                turns.enter(f"pool-{number % 4}", cancellation)
            except (DeadlineExceeded, Overloaded):
                continue
            most = max(most, turns.running)
            time.sleep(0.0002)
            turns.leave(f"pool-{number % 4}", 0.0002)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert 0 < most <= 3
    assert (turns.running, turns.waiting) == (0, 0)
