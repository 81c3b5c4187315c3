"""A worker process: loads its model once, then writes the latents of what standard input orders."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time

import torch

from encoder.corpus import CorpusError, write_video
from generator.batch import worker as batch_worker
from generator.batch.job import Job
from generator.batch.messages import READY, Order, Outcome
from generator.batch.worker import device_of, orders
from generator.connect import EMBEDDED, connect
from generator.corpus.folder import SUFFIX, WORK
from generator.corpus.making import JOB
from generator.corpus.places import about_places, known_places
from generator.history.history import History
from generator.options.groups import selection, window_changes
from generator.options.model import load
from generator.processes.progress import JsonMeter
from generator.requests.generate import config_of, roll, video_spec
from generator.requests.plan import PLAN, Plan
from generator.requests.request import Request
from memory_service.memory import Memory
from memory_service.types import VideoKey

KNOWN = (*batch_worker.KNOWN, CorpusError)
"""Errors whose message says why something cannot be made; after any other the process cannot be trusted."""

POOL = "corpus"


def work(options: argparse.Namespace) -> None:
    """Be worker number `options.worker`. Raises KNOWN where it cannot begin."""
    torch.set_num_threads(options.threads)
    options.device = device_of(options.device, options.worker)
    data = options.out / WORK / f"memory-{options.worker}"
    # Of a worker of this number that died.
    shutil.rmtree(data, ignore_errors=True)
    memory = connect(f"{EMBEDDED}{data}")
    try:
        maker = Maker(options, memory)
        print(READY, flush=True)
        for order in orders(sys.stdin):
            print(maker.make(order).to_line(), flush=True)
    finally:
        memory.close()


class Maker:
    """A loaded model that turns orders into files; its memory is its own, and forgets what is written."""

    def __init__(self, options: argparse.Namespace, memory: Memory) -> None:
        self._options, self._memory = options, memory
        self._recipe = json.loads(options.recipe)
        self._backbone, self._encoder = load(options)
        # What holds for every order is found out before the first.
        first = self._request(Order(name="video", prompt="", seed=0, method=options.method, drop=False))
        config_of(first, options.method, self._backbone)

    def make(self, order: Order) -> Outcome:
        """Write one file, or say why it cannot be."""
        started = time.monotonic()
        try:
            self._write(order)
        except KNOWN as error:
            return Outcome(reason=f"{type(error).__name__}: {error}")
        return Outcome(seconds=time.monotonic() - started)

    def _write(self, order: Order) -> None:
        request, meter = self._request(order), JsonMeter(sys.stdout)
        config = config_of(request, order.method, self._backbone)
        plan = Plan.of(request, config, self._backbone, self._encoder)
        spec = video_spec(request, config, self._backbone, self._encoder, plan)
        key, blocks = VideoKey(POOL, order.name), []
        with History(self._memory, key, spec) as history:
            meter.begin(order.name)
            for block in roll(request, config, self._backbone, self._encoder, history):
                blocks.append(block.latents.cpu())
                meter.advance(order.name, len(block.span))
        self._memory.drop_video(key)
        job = Job(
            name=order.name, prompt=order.prompt, seed=order.seed, method=order.method, recipe=self._recipe
        )
        places = known_places(self._backbone.name, order.prompt, request.num_frames)
        about = {name: text for name, text in spec.metadata.items() if name != PLAN} | {
            "frames": str(request.num_frames),
            "weights": plan.weights,
            "encoder": self._encoder.encoder_id,
            **about_places(places),
            JOB: json.dumps(job.description, sort_keys=True),
        }
        write_video(self._options.out / f"{order.name}{SUFFIX}", torch.cat(blocks), about, places)

    def _request(self, order: Order) -> Request:
        return Request(
            prompt=order.prompt,
            seed=order.seed,
            methods=(order.method,),
            num_frames=self._options.frames,
            pool=POOL,
            video=order.name,
            out=self._options.out,
            block_frames=self._backbone.window.block_frames,
            window_changes=window_changes(self._options),
            selection=selection(self._options),
        )
