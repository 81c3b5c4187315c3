"""The worker processes of a batch: who makes what, and what happens when one of them dies."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from generator.batch.board import Board
from generator.batch.messages import Order, Outcome, parse
from generator.processes.process import POLL_S, Process, ProcessError, ending

MAX_ATTEMPTS = 2
"""A job that takes its worker down twice is at fault itself."""


class Book(Protocol):
    """Where a crew enters what it does."""

    def started(self, name: str, attempt: int) -> None: ...

    def ended(self, name: str, outcome: Outcome) -> None: ...


@dataclass
class Task:
    """An order on its way through the crew."""

    order: Order
    attempt: int = 1


@dataclass
class Worker:
    """One process and what it is making."""

    number: int
    process: Process
    ready: bool = False
    task: Task | None = None


class Crew:
    """Up to `size` workers, started by `command(number)`, numbers from 1. Leaving the context ends them."""

    def __init__(self, size: int, command: Callable[[int], Sequence[str]], book: Book, board: Board) -> None:
        self._size, self._command, self._book, self._board = size, command, book, board
        self._waiting: deque[Task] = deque()
        self._workers: dict[int, Worker] = {}
        self._gone: set[int] = set()
        self._heard: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()

    def make(self, orders: Iterable[Order], check: Callable[[], None]) -> None:
        """Return when every order has been made or has failed; `check` is called all along and may raise.

        A worker that ends before it could begin is not replaced: the next would hardly do better. Raises
        ProcessError where none is left.
        """
        self._waiting.extend(Task(order) for order in orders)
        while self._waiting or any(worker.task for worker in self._workers.values()):
            check()
            self._hire()
            self._assign()
            self._listen(POLL_S)
            for worker in list(self._workers.values()):
                if worker.process.poll() is not None:
                    self._bury(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.process.ask_to_end()
        for worker in self._workers.values():
            worker.process.stop()

    def _hire(self) -> None:
        loading = sum(not worker.ready for worker in self._workers.values())
        for number in range(1, self._size + 1):
            if number not in self._gone.union(self._workers) and loading < len(self._waiting):
                self._workers[number] = self._start(number)
                loading += 1

    def _start(self, number: int) -> Worker:
        def hear(line: str) -> None:
            self._heard.put((number, parse(line)))

        return Worker(number, Process(f"worker {number}", self._command(number), hear, listens=True))

    def _assign(self) -> None:
        for worker in self._workers.values():
            if self._waiting and worker.ready and worker.task is None:
                worker.task = self._waiting.popleft()
                self._book.started(worker.task.order.name, worker.task.attempt)
                worker.process.tell(worker.task.order.to_line())

    def _listen(self, seconds: float) -> None:
        """Take in all that was said, waiting so long for the first message."""
        try:
            self._take(*self._heard.get(timeout=seconds))
            while True:
                self._take(*self._heard.get_nowait())
        except queue.Empty:
            return

    def _take(self, number: int, message: dict[str, Any]) -> None:
        worker = self._workers[number]
        match message:
            case {"event": "ready"}:
                worker.ready = True
            case {"event": "begin", "label": label}:
                self._board.begin(number, label)
            case {"event": "advance", "frames": frames}:
                self._board.advance(number, frames)
            case {"event": "outcome", **fields}:
                self._settle(worker, Outcome(**fields))

    def _settle(self, worker: Worker, outcome: Outcome) -> None:
        assert worker.task is not None, "an outcome without an order"
        task, worker.task = worker.task, None
        self._book.ended(task.order.name, outcome)
        self._board.end(worker.number, task.order.name, "failed" if outcome.reason else "done")

    def _bury(self, worker: Worker) -> None:
        """Give the job of a worker that is dead to another, or report it."""
        code = worker.process.stop()
        self._listen(0)
        del self._workers[worker.number]
        if not worker.ready:
            self._give_up(worker, code)
        elif worker.task is not None and worker.task.attempt < MAX_ATTEMPTS:
            task, worker.task = worker.task, None
            self._board.end(worker.number, task.order.name, "lost, will be tried again")
            self._waiting.appendleft(Task(replace(task.order, drop=True), task.attempt + 1))
        elif worker.task is not None:
            what = f"{MAX_ATTEMPTS} workers died of it; the last one ended with {ending(code)}"
            self._settle(worker, Outcome(reason=worker.process.last_words(what)))

    def _give_up(self, worker: Worker, code: int) -> None:
        what = f"worker {worker.number} ended with {ending(code)} before it could begin"
        self._gone.add(worker.number)
        if len(self._gone) == self._size:
            raise ProcessError(worker.process.last_words(what))
        self._board.lose(worker.number, worker.process.last_words(what))
