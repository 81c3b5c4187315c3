"""The options for videos that the memory has already, and for a memory that goes away."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from generator.errors import ConfigError, PlanError
from generator.options import BACKBONES
from generator.story_options import DEFAULTS

if TYPE_CHECKING:
    from generator.plan import Plan
    from memory_service.memory import Memory
    from memory_service.types import VideoKey

REPLAYS = ("exact", "window")
"""Of `generator.replay`, which would load torch."""

FAIL, DEGRADE = "fail", "degrade"

OF_THE_PLAN = {
    "prompt": None,
    "schedule": None,
    "scenes": None,
    "seed": None,
    "method": None,
    "frames": None,
    "window": None,
    "sink": None,
    "top_k": None,
    "guard": None,
    "at_switch": None,
    "recache_sink": False,
    "old_history": DEFAULTS.old_history,
    "fade": DEFAULTS.fade,
    "kv": None,
    "kv_layout": None,
    "replace": False,
}
"""Options that a video which is continued has of its own -> what they are when not given."""

BRANCHES_HAVE = ("prompt", "seed", "frames")
"""Of these, what a branch may have of its own."""

LOADING = ("backbone", "unmerged", "numerics", "compile", "height", "width", "vae_chunk", "container")
"""Options that decide which model is loaded; the others of the model say where it lies."""


def add_survival(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("videos that the memory has, and a memory that goes away")
    begun = group.add_mutually_exclusive_group()
    begun.add_argument(
        "--resume",
        metavar="VIDEO",
        help="go on with a video whose rollout ended: what defines it is in the memory, only where things "
        "lie is asked for (--memory, --pool, --out, --weights, --encoder)",
    )
    begun.add_argument(
        "--fork",
        metavar="VIDEO@FRAME",
        help="begin a branch at a latent frame, with --prompt from there on; --video names it, --seed and "
        "--frames are its parent's unless given",
    )
    group.add_argument(
        "--replay",
        choices=REPLAYS,
        default=REPLAYS[0],
        help="of a video that is continued: exact passes every block again, for the bits of an uninterrupted "
        "rollout; window only those that are still attended; default: %(default)s",
    )
    group.add_argument(
        "--on-memory-loss",
        choices=(FAIL, DEGRADE),
        default=FAIL,
        help="degrade: blocks attend the window alone while the memory is away, and are sent when it is "
        "back; default: %(default)s",
    )
    group.add_argument(
        "--memory-patience",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds that degrade waits for an answer first; default: %(default)s",
    )


def patience_s(options: argparse.Namespace) -> float | None:
    """What `Request.patience_s` is by these options. Raises ConfigError."""
    if options.memory_patience <= 0:
        raise ConfigError(f"--memory-patience must be positive, got {options.memory_patience:g}")
    return options.memory_patience if options.on_memory_loss == DEGRADE else None


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError where a video is continued and yet defined anew."""
    which = "--resume" if options.resume else "--fork"
    may = () if options.resume else BRANCHES_HAVE
    for name, absent in OF_THE_PLAN.items():
        if name not in may and getattr(options, name) != absent:
            raise ConfigError(
                f"--{name.replace('_', '-')} is the video's own: {which} takes it from the memory"
            )
    if options.resume and options.video not in (None, options.resume):
        raise ConfigError(f"--video is {options.video!r}; --resume goes on with {options.resume!r}")


def begun(options: argparse.Namespace, memory: Memory) -> tuple[VideoKey, Plan]:
    """The video that is to be continued, a branch begun first; its plan. Raises PlanError, ServiceError."""
    from generator.plan import Plan
    from generator.resuming import branch_point, fork
    from memory_service.types import VideoKey

    if options.resume:
        key = VideoKey(options.pool, options.resume)
    else:
        video, frame = branch_point(options.fork)
        key = VideoKey(options.pool, options.video or f"{video}-from-{frame}")
        parent = VideoKey(options.pool, video)
        fork(memory, parent, frame, key, prompt=prompt(options), num_frames=options.frames, seed=options.seed)
    return key, Plan.read(key, memory.get_video(key).spec)


def prompt(options: argparse.Namespace) -> str | None:
    """The prompt of a branch. Raises ConfigError where it has a time: it begins with the branch."""
    cues = options.prompt or ()
    if len(cues) > 1 or any(cue.at_s is not None or cue.at_block is not None for cue in cues):
        raise ConfigError("--fork takes one --prompt without a time: it begins where the branch leaves")
    return cues[0].prompt if cues else None


def loading(options: argparse.Namespace) -> dict[str, object]:
    """What `Request.loading` is by these options."""
    return {name: getattr(options, name, None) for name in LOADING}


def load_as(options: argparse.Namespace, plan: Plan) -> argparse.Namespace:
    """Options that load the model of a plan, from where these options say.

    Raises PlanError where they name another backbone.
    """
    own = {name: value for name, value in plan.loading.items() if name in LOADING}
    if options.backbone not in (BACKBONES[0], own.get("backbone", options.backbone)):
        raise PlanError(f"--backbone is {options.backbone!r}; expected {own['backbone']!r} for this video")
    return argparse.Namespace(**{**vars(options), **own})
