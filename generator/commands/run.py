"""reverie-generate run: one prompt by one or several methods."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from generator import story_options
from generator.connect import EMBEDDED, connect
from generator.options import add_memory, add_model, add_subject, add_window, window_changes
from generator.progress import BarMeter, JsonMeter, LineMeter, Meter, meter_for
from generator.story_options import add_switching

if TYPE_CHECKING:
    from encoder.model import Encoder
    from generator.backbones import Backbone
    from generator.options import Commands


def add(commands: Commands) -> None:
    words = "Generate one prompt by one or several methods."
    running = commands.add_parser("run", help="roll out one prompt", description=words)
    for group in (add_subject, add_switching, add_memory, add_window, add_model):
        group(running)
    running.add_argument(
        "--progress",
        choices=("auto", "bars", "lines", "json"),
        default="auto",
        help="auto: bars in a terminal, else lines; json: one object a line on standard output",
    )
    running.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    errors = Console(stderr=True)
    # Imported here: they take seconds, and --help and a mistyped option should not.
    import torch

    from encoder.checkpoint import CheckpointError
    from generator.errors import GeneratorError
    from memory_service.errors import ServiceError

    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        run_rollouts(options)
    except (GeneratorError, ServiceError, CheckpointError, OSError, ValueError) as error:
        errors.print(f"reverie-generate: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


def run_rollouts(options: argparse.Namespace) -> None:
    """Load what the options name, roll out, and say which files there are."""
    from generator.generate import Request, drop, generate, write_side_by_side
    from generator.schedule import Schedule

    cues = story_options.told(options)
    switching = story_options.switching(options)
    backbone, encoder = load(options)
    block_frames = backbone.window.block_frames
    block_s = block_frames / backbone.decoder.latent_fps
    schedule = Schedule.of(cues, options.frames // block_frames, block_s)
    request = Request(
        prompt=schedule.prompt,
        seed=options.seed,
        methods=tuple(dict.fromkeys(options.method)),
        num_frames=options.frames,
        pool=options.pool,
        video=options.video or slug(schedule.prompt),
        out=options.out,
        block_frames=block_frames,
        window_changes=window_changes(options),
        turns=schedule.turns,
        switching=switching,
    )
    memory = connect(options.memory or f"{EMBEDDED}{options.out / 'memory'}", options.environment)
    try:
        if options.replace:
            drop(request, memory)
        with _meter(options.progress) as meter:
            outputs = generate(request, backbone, encoder, memory, meter)
    finally:
        memory.close()
    files = [file for output in outputs for file in output.files]
    if len(outputs) > 1:
        files.append(write_side_by_side(request, outputs))
    if options.progress != "json":
        Console().print("\n".join(map(str, files)), soft_wrap=True, highlight=False)


def load(options: argparse.Namespace) -> tuple[Backbone, Encoder]:
    """The backbone and the encoder that the options name. Raises what their loaders raise."""
    from generator.model_options import load

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
