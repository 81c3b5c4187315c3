"""The options that tell a story: prompts and when each begins, and what becomes of the past there."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from generator.errors import ConfigError
from generator.story import cues
from generator.story.cues import Cue
from generator.story.switching import FLUSH, KEEP, OLD_HISTORY, RECACHE, Switching

DEFAULTS = Switching()


def add_prompts(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """One of three ways to say what is told."""
    told = command.add_mutually_exclusive_group()
    told.add_argument(
        "--prompt",
        type=_typed(cues.of_option),
        action="append",
        metavar="[TIME:]TEXT",
        help='repeated, the later ones with a time: "12s:a storm comes", "16b:..." in blocks; "12s#:..." '
        "cuts to another scene",
    )
    told.add_argument(
        "--schedule",
        type=_typed(lambda path: cues.read(Path(path))),
        metavar="FILE",
        help="prompts of a YAML file: a list of `{at: 12s, prompt: ..., cut: true}`",
    )
    told.add_argument(
        "--scenes",
        type=_typed(cues.published),
        metavar="TEXT",
        help='Infinity-RoPE\'s "text[10s] | text[10s#] | text[10s]"; # cuts to the next one',
    )


def add_switching(command: argparse.ArgumentParser) -> None:
    turning = command.add_argument_group("where another prompt begins")
    turning.add_argument(
        "--at-switch",
        choices=(RECACHE, FLUSH, KEEP),
        help="what the window undergoes: its latents are passed again under the new prompt, all but the sink "
        "and the newest frames are forgotten (infinity_rope alone), or nothing; default: as the method's "
        "released code",
    )
    turning.add_argument("--recache-sink", action="store_true", help="recache the first frames as well")
    turning.add_argument(
        "--old-history",
        choices=OLD_HISTORY,
        help="frames from before it are retrieved like any, count less, or are not; default: "
        f"{DEFAULTS.old_history}",
    )
    turning.add_argument(
        "--fade",
        type=float,
        metavar="W",
        help=f"what such frames count per switch since; default: {DEFAULTS.fade:g}",
    )


def told(options: argparse.Namespace) -> tuple[Cue, ...]:
    """The prompts that the options of `add_prompts` give, the first first."""
    return tuple(options.prompt or options.schedule or options.scenes or ())


def switching(options: argparse.Namespace) -> Switching:
    """What the options of `add_switching` say. Raises ConfigError."""
    return Switching(
        at_switch=options.at_switch,
        recache_sink=options.recache_sink,
        old_history=options.old_history or DEFAULTS.old_history,
        fade=DEFAULTS.fade if options.fade is None else options.fade,
    )


def _typed(parse: Callable[[str], object]) -> Callable[[str], object]:
    """For argparse, which shows the message of one kind of error alone."""

    def typed(text: str) -> object:
        try:
            return parse(text)
        except (ConfigError, OSError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed
