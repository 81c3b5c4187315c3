"""The command line of reverie-generate, and the groups of arguments that its commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from encoder.untrained import UNTRAINED
from generator.errors import ConfigError
from generator.options.story import add_prompts
from generator.weights import user_files
from memory_service.types import Policy as Selection

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns; argparse has no public name for it."""

DESCRIPTION = "Long videos whose past stays in reach: rolls out prompts against a memory."
METHODS = (
    "longlive_rag",
    "relative",
    "native",
    "infinity_rope",
    "infinity_rope_paper",
    "deep_sink",
    "deep_sink_paper",
    "deep_forcing",
    "deep_forcing_paper",
    "local_only",
    "newest_memory",
    "random_memory",
)
"""Names of `generator.methods`, which would load torch; the first is the default."""

BACKBONES = ("toy", "self_forcing", "causal_forcing", "longlive", "wan")
NUMERICS = ("stock", "reference")
"""Names of `generator.wan.reference_numerics`, which would load torch; the first is the default."""

SEED, FRAMES = 0, 240
"""Defaults of `run`, which has to know whether they were given."""

EXIT_CODES = """exit codes:
  0    done
  1    generation or the memory failed; the last line says why
  2    the command line is wrong
  130  interrupted

examples:
  reverie-generate demo
  reverie-generate run --prompt "a snowy village at dusk; pan right 20s, pan left 20s" --out out/village
  reverie-generate run --prompt "a village at noon" --prompt "30s:a village at night"
  reverie-generate run --prompt "a forest at noon" --memory 127.0.0.1:50051 --method longlive_rag native
"""


def parser() -> argparse.ArgumentParser:
    """The command line: `execute` is the function of the command that was given."""
    # The commands import the groups below.
    from generator.commands import COMMANDS

    formatter = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="reverie-generate", description=DESCRIPTION, epilog=EXIT_CODES, formatter_class=formatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def is_given(options: argparse.Namespace, name: str) -> bool:
    """Whether the user said it, of options that are None or False where not."""
    value = getattr(options, name)
    return value is not None and value is not False


def add_subject(command: argparse.ArgumentParser) -> None:
    what = command.add_argument_group("what to generate")
    add_prompts(what)
    what.add_argument(
        "--seed", type=int, metavar="N", help=f"with the prompt it fixes the noise; default: {SEED}"
    )
    what.add_argument(
        "--method",
        nargs="+",
        choices=METHODS,
        help=f"several run one after the other on the same noise; default: {METHODS[0]}",
    )
    what.add_argument(
        "--frames", type=int, metavar="N", help=f"latent frames, whole blocks of 3; default: {FRAMES}"
    )
    what.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="default: %(default)s")


def add_memory(command: argparse.ArgumentParser) -> None:
    memory = command.add_argument_group("memory")
    memory.add_argument(
        "--memory",
        metavar="ADDRESS",
        help='"127.0.0.1:50051", "unix:/path", or "embedded:DIR" for one in this process; '
        "default: embedded, under the out folder",
    )
    memory.add_argument("--pool", default="default", help="default: %(default)s")
    memory.add_argument("--video", help="name of the video; default: the first words of the prompt")
    memory.add_argument(
        "--replace",
        action="store_true",
        help="drop the video first if the memory has it; else that is an error",
    )


def add_window(command: argparse.ArgumentParser) -> None:
    window = command.add_argument_group("attention window, in latent frames; default: the backbone's own")
    window.add_argument("-W", "--window", type=int, metavar="N", help="attended frames in all (12)")
    window.add_argument("-S", "--sink", type=int, metavar="N", help="first frames, always attended (1)")
    window.add_argument("-K", "--top-k", type=int, metavar="N", help="retrieved frames (6)")
    window.add_argument("-R", "--guard", type=int, metavar="N", help="newest history kept from retrieval (5)")
    window.add_argument("--min-gap", type=gap, metavar="N", help="retrieved frames lie so far apart (0)")
    window.add_argument(
        "--mmr",
        type=within_one,
        metavar="LAMBDA",
        help="choose them by maximal marginal relevance: 1 is the most similar, 0 the least alike",
    )


def window_changes(options: argparse.Namespace) -> dict[str, int]:
    """Fields of `Window` -> what the options of `add_window` give in place of the backbone's own."""
    given = {
        "window_frames": options.window,
        "sink_frames": options.sink,
        "top_k": options.top_k,
        "guard_frames": options.guard,
    }
    return {name: value for name, value in given.items() if value is not None}


def gap(text: str) -> int:
    """Raises ValueError, ArgumentTypeError."""
    if (frames := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more frames, got {frames}")
    return frames


def within_one(text: str) -> float:
    """Raises ValueError, ArgumentTypeError."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return value


def check_selection(options: argparse.Namespace, methods: Sequence[str]) -> None:
    """Raises ConfigError where it is said how to choose and none of the methods searches."""
    from generator.methods import policy_named

    given = is_given(options, "min_gap") or is_given(options, "mmr")
    if given and not any(policy_named(method).searches for method in methods):
        raise ConfigError(f"--min-gap and --mmr need a method that searches, got {', '.join(methods)}")


def selection(options: argparse.Namespace) -> Selection:
    """How the memory is to choose among eligible frames."""
    return Selection(min_gap_frames=options.min_gap or 0, mmr_lambda=options.mmr)


def add_model(command: argparse.ArgumentParser) -> None:
    model = command.add_argument_group("model")
    model.add_argument(
        "--backbone",
        choices=BACKBONES,
        default=BACKBONES[0],
        help=f"`reverie-generate backbones` says which are there; default: {BACKBONES[0]}",
    )
    model.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="toy: a folder in place of the bundled one; wan: a folder in diffusers' layout; others: the "
        f"root of all published weights ({user_files.WEIGHTS})",
    )
    model.add_argument(
        "--numerics",
        choices=NUMERICS,
        default=NUMERICS[0],
        help="reference: all weights in bfloat16 and rounding after every operation, as the published "
        f"generators have it (docs/numerics.md); default: {NUMERICS[0]}",
    )
    model.add_argument(
        "--compile",
        action="store_true",
        help="compile the transformer's blocks; the first pass takes longer, and last bits differ",
    )
    model.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE",
        help=f"retrieval encoder, or {' or '.join(UNTRAINED)}; the toy's is bundled, those of the published "
        "backbones lie below their root",
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads of the model; default: all")
    _add_wan(command)


def _add_wan(command: argparse.ArgumentParser) -> None:
    wan = command.add_argument_group("Wan models, not the toy")
    wan.add_argument("--checkpoint", type=Path, metavar="FILE", help="wan: few-step weights")
    wan.add_argument(
        "--container", metavar="KEY", help="wan: key of the weights in the checkpoint, if it has several"
    )
    wan.add_argument(
        "--unmerged", action="store_true", help="longlive: adapters stay beside the weights, slower"
    )
    wan.add_argument("--height", type=int, metavar="PX", help="Wan: pixel rows (480)")
    wan.add_argument("--width", type=int, metavar="PX", help="Wan: pixel columns (832)")
    wan.add_argument(
        "--vae-chunk",
        type=int,
        metavar="N",
        help="Wan: decode N latent frames at a time, with seams, as the reference does with 60; "
        "default: all in one stream",
    )
    wan.add_argument(
        "--text-cache", metavar="DIR", help=f"Wan: text embeddings that are kept ({user_files.TEXT})"
    )
    wan.add_argument(
        "--device", default="cuda", help="for Wan; the toy runs on the CPU; default: %(default)s"
    )


def completed(options: argparse.Namespace) -> argparse.Namespace:
    """Options of a model with the defaults of `add_model` in place of None."""
    parser = argparse.ArgumentParser()
    add_model(parser)
    given = {name: value for name, value in vars(options).items() if value is not None}
    return argparse.Namespace(**{**vars(options), **vars(parser.parse_args([])), **given})
