"""reverie-generate run: one prompt by one or several methods."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from generator.connect import EMBEDDED, connect
from generator.errors import ConfigError, GeneratorError
from generator.options import combinations
from generator.options import kv as kv_options
from generator.options import story as story_options
from generator.options import survival as survival_options
from generator.options.groups import (
    FRAMES,
    METHODS,
    SEED,
    add_memory,
    add_model,
    add_subject,
    add_window,
    completed,
    selection,
    window_changes,
)
from generator.options.story import add_switching
from generator.options.survival import add_survival
from generator.processes.progress import BarMeter, JsonMeter, LineMeter, Meter, meter_for

if TYPE_CHECKING:
    from encoder.model import Encoder
    from generator.backbones import Backbone
    from generator.options.groups import Commands
    from generator.requests.request import Request
    from memory_service.memory import Memory


def add(commands: Commands) -> None:
    words = "Generate one prompt by one or several methods."
    running = commands.add_parser("run", help="roll out one prompt", description=words)
    for group in (
        add_subject,
        add_switching,
        add_survival,
        add_memory,
        add_window,
        kv_options.add_kv,
        add_model,
    ):
        group(running)
    running.add_argument(
        "--progress",
        choices=("auto", "bars", "lines", "json"),
        default="auto",
        help="auto: bars in a terminal, else lines; json: one object a line on standard output",
    )
    running.add_argument(
        "--dry-run",
        action="store_true",
        help="only say which frames each block would attend, at which temporal positions; loads no weights, "
        "and takes the usual window where none is given",
    )
    # A video that is continued has these of its own: whether they were given must show.
    running.set_defaults(execute=execute, refuse=running.error, backbone=None, numerics=None)


def execute(options: argparse.Namespace) -> int:
    if not (story_options.told(options) or options.resume or options.fork or options.dry_run):
        options.refuse("one of --prompt, --schedule, --scenes, --resume and --fork is required")
    try:
        combinations.check(options)
    except ConfigError as error:
        options.refuse(str(error))
    errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)
    # Imported here: they take seconds, and --help and a mistyped option should not.
    import torch

    from encoder.checkpoint import CheckpointError
    from memory_service.errors import ServiceError

    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if options.dry_run:
            show_contexts(options)
        else:
            run_rollouts(options)
    except (GeneratorError, ServiceError, CheckpointError, OSError, ValueError) as error:
        errors.print(f"reverie-generate: {error}")
        return 1
    return 0


def show_contexts(options: argparse.Namespace) -> None:
    """Print a table per method of what its blocks would attend."""
    from generator.requests import dry_run

    tables = dry_run.tables(
        options.method or METHODS[:1],
        FRAMES if options.frames is None else options.frames,
        window_changes(options),
        story_options.told(options),
        story_options.switching(options),
    )
    # Where nobody watches, rows stay whole.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    for table in tables:
        console.print(table, highlight=False)


def run_rollouts(options: argparse.Namespace) -> None:
    """Load what the options name, roll out, and say which files there are."""
    from generator.requests.generate import drop, generate, write_side_by_side

    # What cannot be made leaves no memory behind.
    new = None if options.resume or options.fork else asked(options)
    with connected(options) as memory:
        request, backbone, encoder = new or continued(options, memory)
        if options.replace:
            drop(request, memory)
        with _meter(options.progress) as meter:
            outputs = generate(request, backbone, encoder, memory, meter)
    files = [file for output in outputs for file in output.files]
    if len(outputs) > 1:
        files.append(write_side_by_side(request, outputs))
    if options.progress != "json":
        for record in (output.record for output in outputs if output.record.kv.retrieved):
            Console().print(f"{record.video}: {record.kv.words()}", soft_wrap=True, highlight=False)
        Console().print("\n".join(map(str, files)), soft_wrap=True, highlight=False)


@contextmanager
def connected(options: argparse.Namespace) -> Iterator[Memory]:
    """The memory, closed at the end; an error on the way is not hidden by one of closing."""
    from memory_service.errors import ServiceError

    memory = connect(options.memory or f"{EMBEDDED}{options.out / 'memory'}", options.environment)
    try:
        yield memory
    except BaseException:
        with suppress(ServiceError):
            memory.close()
        raise
    memory.close()


def asked(options: argparse.Namespace) -> tuple[Request, Backbone, Encoder]:
    """A request for new videos, and what makes them."""
    from generator.requests.request import Request
    from generator.story.schedule import Schedule

    cues = story_options.told(options)
    switching = story_options.switching(options)
    patience_s = survival_options.patience_s(options)
    options = completed(options)
    backbone, encoder = load(options)
    block_frames = backbone.window.block_frames
    block_s = block_frames / backbone.decoder.latent_fps
    num_frames = FRAMES if options.frames is None else options.frames
    schedule = Schedule.of(cues, num_frames // block_frames, block_s)
    request = Request(
        prompt=schedule.prompt,
        seed=SEED if options.seed is None else options.seed,
        methods=tuple(dict.fromkeys(options.method or METHODS[:1])),
        num_frames=num_frames,
        pool=options.pool,
        video=options.video or slug(schedule.prompt),
        out=options.out,
        block_frames=block_frames,
        window_changes=window_changes(options),
        selection=selection(options),
        turns=schedule.turns,
        switching=switching,
        loading=survival_options.loading(options),
        kv=kv_options.config(options),
        patience_s=patience_s,
    )
    return request, backbone, encoder


def continued(options: argparse.Namespace, memory: Memory) -> tuple[Request, Backbone, Encoder]:
    """The request by which a video of the memory is continued, a branch begun first, and what makes it."""
    import torch

    patience_s = survival_options.patience_s(options)
    key, plan = survival_options.planned(options, memory)
    if not options.threads:
        torch.set_num_threads(plan.numerics["threads"])
    backbone, encoder = load(survival_options.load_as(options, plan))
    begun = plan.request(key, options.out)
    kv = kv_options.config(options, begun.kv)
    replay = options.replay or begun.replay
    request = replace(begun, kv=kv, replay=replay, patience_s=patience_s)
    if options.fork:
        check_branch(request, backbone)
        survival_options.begin_branch(options, memory, key)
    return request, backbone, encoder


def check_branch(request: Request, backbone: Backbone) -> None:
    """What would be refused later, when the branch is in the memory and has its name.

    Raises ConfigError, KVBudgetError, ValueError.
    """
    from generator.requests.generate import config_of
    from generator.story.text import PromptTrack

    config_of(request, request.methods[0], backbone)
    PromptTrack.of(request.schedule, backbone.text, request.num_blocks)


def load(options: argparse.Namespace) -> tuple[Backbone, Encoder]:
    """The backbone and the encoder that the options name. Raises what their loaders raise."""
    from generator.options.model import load

    return load(options)


def slug(prompt: str) -> str:
    """A name for a video out of the first words of its prompt."""
    words = re.findall(r"[a-z0-9]+", prompt.partition(";")[0].lower())
    return "-".join(words[:6])[:64] or "video"


def _meter(kind: str) -> Meter:
    console = Console(stderr=kind != "json")
    meters = {
        "auto": lambda: meter_for(console),
        "bars": lambda: BarMeter(console),
        "lines": lambda: LineMeter(lambda line: console.print(line, highlight=False)),
        "json": lambda: JsonMeter(sys.stdout),
    }
    return meters[kind]()
