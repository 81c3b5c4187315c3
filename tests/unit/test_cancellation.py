"""Whether a call should stop: asked, and told."""

import threading
import time

import pytest

from memory_service import cancellation
from memory_service.cancellation import Cancellation
from memory_service.errors import Cancelled, DeadlineExceeded, Unavailable


def test_outside_of_a_call_nothing_stops() -> None:
    cancellation.check()
    with cancellation.waking(lambda: pytest.fail("woken")):
        cancellation.check()


def test_a_deadline() -> None:
    call = Cancellation(timeout_s=0.05)
    with call.current():
        cancellation.check()
        assert 0 < (call.remaining_s or 0) <= 0.05
        time.sleep(0.06)
        assert call.remaining_s == 0
        with pytest.raises(DeadlineExceeded):
            cancellation.check()
    cancellation.check()


def test_a_caller_who_is_gone() -> None:
    there = True
    call = Cancellation(active=lambda: there)
    with call.current():
        cancellation.check()
        there = False
        with pytest.raises(Cancelled):
            cancellation.check()


def test_the_first_end_counts_and_wakes() -> None:
    call, woken = Cancellation(), threading.Event()
    with call.current(), cancellation.waking(woken.set):
        call.end(Unavailable("draining"))
        call.end(Cancelled("gone"))
        assert woken.is_set()
        with pytest.raises(Unavailable):
            cancellation.check()


def test_who_waits_after_the_end_is_woken_at_once() -> None:
    call, woken = Cancellation(), threading.Event()
    call.end(Cancelled("gone"))
    with call.waking(woken.set):
        assert woken.is_set()


def test_who_has_stopped_waiting_is_not_woken() -> None:
    call, woken = Cancellation(), threading.Event()
    with call.waking(woken.set):
        pass
    call.end(Cancelled("gone"))
    assert not woken.is_set()


def test_a_call_is_its_own_threads_alone() -> None:
    call = Cancellation(timeout_s=0.0)
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            cancellation.check()
        except Exception as exc:
            errors.append(exc)

    with call.current():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert not errors
