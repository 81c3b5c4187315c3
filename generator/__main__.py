"""reverie-generate: long videos whose past stays in reach. Rolls out prompts against a memory."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from generator.connect import EMBEDDED, connect
from generator.progress import BarMeter, JsonMeter, LineMeter, Meter, meter_for

if TYPE_CHECKING:
    from encoder.model import Encoder
    from generator.backbones import Backbone

METHODS = ("longlive_rag", "relative", "native")
BACKBONES = ("toy", "wan_1_3b")
AVG_POOL = "avg-pool"

EXIT_CODES = """exit codes:
  0    done
  1    generation or the memory failed; the last line says why
  2    the command line is wrong
  130  interrupted

examples:
  reverie-generate demo
  reverie-generate run --prompt "a snowy village at dusk; pan right 20s, pan left 20s" --out out/village
  reverie-generate run --prompt "a forest at noon" --memory 127.0.0.1:50051 --method longlive_rag native
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # A parent ends its children with SIGTERM; they must leave as on Ctrl-C, with files and memory closed.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return options.command(options)
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
    from generator.generate import Request, generate, write_side_by_side

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
    memory = connect(options.memory or f"{EMBEDDED}{options.out / 'memory'}")
    try:
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
    return backbone, checkpoint.load(encoder_file)


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


def parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="reverie-generate", description=__doc__, epilog=EXIT_CODES, formatter_class=formatter
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="roll out one prompt", description=run.__doc__))
    showing = commands.add_parser(
        "demo", help="the whole system at work, in out/demo", description=demo.__doc__
    )
    showing.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s"
    )
    showing.add_argument(
        "--frames", type=int, default=240, help="latent frames a video; default: %(default)s"
    )
    showing.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    showing.add_argument("--weights", type=Path, metavar="DIR", help="default: the bundled toy")
    showing.set_defaults(command=demo)
    return top


def _add_run(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command=run)
    what = command.add_argument_group("what to generate")
    what.add_argument("--prompt", required=True)
    what.add_argument(
        "--seed", type=int, default=0, help="with the prompt it fixes the noise; default: %(default)s"
    )
    what.add_argument(
        "--method",
        nargs="+",
        choices=METHODS,
        default=[METHODS[0]],
        help="several run one after the other on the same noise; default: %(default)s",
    )
    what.add_argument(
        "--frames", type=int, default=240, help="latent frames, whole blocks of 3; default: %(default)s"
    )
    what.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="default: %(default)s")

    memory = command.add_argument_group("memory")
    memory.add_argument(
        "--memory",
        metavar="ADDRESS",
        help='"127.0.0.1:50051", "unix:/path", or "embedded:DIR" for one in this process; '
        "default: embedded, under the out folder",
    )
    memory.add_argument("--pool", default="default", help="default: %(default)s")
    memory.add_argument("--video", help="name of the video; default: the first words of the prompt")

    window = command.add_argument_group("attention window, in latent frames; default: the backbone's own")
    window.add_argument("-W", "--window", type=int, metavar="N", help="attended frames in all (12)")
    window.add_argument("-S", "--sink", type=int, metavar="N", help="first frames, always attended (1)")
    window.add_argument("-K", "--top-k", type=int, metavar="N", help="retrieved frames (6)")
    window.add_argument("-R", "--guard", type=int, metavar="N", help="newest history kept from retrieval (5)")

    model = command.add_argument_group("model")
    model.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0], help="default: %(default)s")
    model.add_argument("--weights", type=Path, metavar="DIR", help="weights; the toy's are bundled")
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="few-step weights of Wan")
    model.add_argument(
        "--container", metavar="KEY", help="key of the weights in the checkpoint, if it has several"
    )
    model.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE",
        help=f'retrieval encoder, or "{AVG_POOL}"; the toy\'s is bundled',
    )
    model.add_argument(
        "--device", default="cuda", help="for Wan; the toy runs on the CPU; default: %(default)s"
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads of the model; default: all")
    command.add_argument(
        "--progress",
        choices=("auto", "bars", "lines", "json"),
        default="auto",
        help="auto: bars in a terminal, else lines; json: one object a line on standard output",
    )


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
