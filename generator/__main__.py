"""reverie-generate: rolls out prompts against a memory."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from generator.connect import EMBEDDED, connect
from generator.options import AVG_POOL, parser
from generator.progress import BarMeter, JsonMeter, LineMeter, Meter, meter_for

if TYPE_CHECKING:
    from encoder.model import Encoder
    from generator.backbones import Backbone


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # A parent ends its children with SIGTERM; they must leave as on Ctrl-C, with files and memory closed.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return {"run": run, "demo": demo}[options.command](options)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def run(options: argparse.Namespace) -> int:
    """Generate one prompt by one or several methods."""
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

    backbone, encoder = load(options)
    given = {
        "window_frames": options.window,
        "sink_frames": options.sink,
        "top_k": options.top_k,
        "guard_frames": options.guard,
    }
    window = replace(backbone.window, **{name: value for name, value in given.items() if value is not None})
    request = Request(
        prompt=options.prompt,
        seed=options.seed,
        methods=tuple(dict.fromkeys(options.method)),
        num_frames=options.frames,
        pool=options.pool,
        video=options.video or slug(options.prompt),
        out=options.out,
        window=window,
    )
    memory = connect(options.memory or f"{EMBEDDED}{options.out / 'memory'}", os.environ)
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
    from encoder import checkpoint
    from encoder.model import AvgPool
    from generator import backbones
    from generator.errors import ConfigError

    if options.backbone == "toy":
        backbone = backbones.toy(options.weights) if options.weights else backbones.toy()
        encoder_file = options.encoder or (options.weights or backbones.TOY_WEIGHTS) / "encoder.safetensors"
    else:
        if options.weights is None:
            raise ConfigError("--backbone wan_1_3b needs --weights, a folder in diffusers' layout")
        if options.encoder is None:
            raise ConfigError(f"--backbone wan_1_3b needs --encoder, a checkpoint or {AVG_POOL}")
        backbone = backbones.wan_1_3b(
            options.weights, options.checkpoint, container=options.container, device=options.device
        )
        encoder_file = options.encoder
    if str(encoder_file) == AVG_POOL:
        return backbone, AvgPool(backbone.geometry.channels)
    return backbone, checkpoint.load(encoder_file).to(backbone.model.device)


def demo(options: argparse.Namespace) -> int:
    """Two generators, one memory service, three methods, and the report."""
    from generator.demo import DemoConfig, run_demo

    config = DemoConfig(
        out=options.out, num_frames=options.frames, seed=options.seed, weights=options.weights
    )
    return run_demo(config, Console())


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


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
