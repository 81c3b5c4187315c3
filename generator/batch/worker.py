"""A worker process: loads its model once, then makes what standard input orders until that ends."""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

import torch

from encoder.checkpoint import CheckpointError
from generator.batch.fingerprints import file_sha256
from generator.batch.messages import READY, Order, Outcome
from generator.batch.summary import retrievals_of, timings_of
from generator.connect import connect
from generator.errors import GeneratorError
from generator.options.groups import selection, window_changes
from generator.options.model import load
from generator.options.survival import loading
from generator.processes.progress import JsonMeter
from generator.requests.generate import Output, drop, generate_one
from generator.requests.request import Request
from memory_service.errors import ServiceError
from memory_service.memory import Memory

KNOWN = (GeneratorError, ServiceError, CheckpointError, OSError, ValueError)
"""Errors whose message says why something cannot be made; after any other the process cannot be trusted."""


def work(options: argparse.Namespace) -> None:
    """Be worker number `options.worker` of a batch. Raises KNOWN where it cannot begin."""
    torch.set_num_threads(options.threads)
    options.device = device_of(options.device, options.worker)
    maker = Maker(options, connect(options.memory, options.environment))
    try:
        print(READY, flush=True)
        for order in orders(sys.stdin):
            print(maker.make(order).to_line(), flush=True)
    finally:
        maker.memory.close()


class Maker:
    """A loaded model that turns orders into files, and the memory that it shares with other workers."""

    def __init__(self, options: argparse.Namespace, memory: Memory) -> None:
        self.memory = memory
        self._options = options
        self._backbone, self._encoder = load(options)
        # What holds for every order is found out before the first.
        self._request(Order(name="video", prompt="", seed=0, method=options.methods[0], drop=False))

    def make(self, order: Order) -> Outcome:
        """The files of one rollout, or the reason why there are none."""
        request, started = self._request(order), time.monotonic()
        try:
            if order.drop:
                drop(request, self.memory)
            output = generate_one(
                request, order.method, self._backbone, self._encoder, self.memory, JsonMeter(sys.stdout)
            )
        except KNOWN as error:
            return Outcome(reason=f"{type(error).__name__}: {error}")
        return outcome_of(output, time.monotonic() - started)

    def _request(self, order: Order) -> Request:
        return Request(
            prompt=order.prompt,
            seed=order.seed,
            methods=(order.method,),
            num_frames=self._options.frames,
            pool=self._options.pool,
            video=order.name,
            out=self._options.out,
            block_frames=self._backbone.window.block_frames,
            window_changes=window_changes(self._options),
            selection=selection(self._options),
            loading=loading(self._options),
        )


def outcome_of(output: Output, seconds: float) -> Outcome:
    """What is kept of a rollout. Raises OSError."""
    record = output.record
    return Outcome(
        seconds=seconds,
        files={
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in output.files
        },
        settings=record.settings,
        timings=timings_of(record),
        retrievals=retrievals_of(record),
    )


def device_of(devices: str, worker: int) -> str:
    """The device of one worker, where "cuda:0,cuda:1" are shared out in turn."""
    names = devices.split(",")
    return names[(worker - 1) % len(names)]


def orders(lines: IO[str]) -> Iterator[Order]:
    """Orders as they come. Where the parent is gone while one is being made, so is this process."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def read() -> None:
        for line in lines:
            busy.set()
            waiting.put(line)
        waiting.put(None)
        if busy.is_set():
            # The parent was killed, and its memory goes too: in order, this would wait for that to come back.
            os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while (line := waiting.get()) is not None:
        yield Order.from_line(line)
        busy.clear()
