"""The options for videos that the memory has already, and for a memory that goes away."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from generator.errors import ConfigError, PlanError
from generator.history.replay import REPLAYS
from generator.options.groups import completed, is_given

if TYPE_CHECKING:
    from generator.requests.plan import Plan
    from memory_service.memory import Memory
    from memory_service.types import VideoKey

FAIL, DEGRADE = "fail", "degrade"

PATIENCE_S = 2.0
"""How long degrade waits unless told."""

OF_THE_PLAN = (
    "prompt",
    "schedule",
    "scenes",
    "seed",
    "method",
    "frames",
    "window",
    "sink",
    "top_k",
    "guard",
    "min_gap",
    "mmr",
    "at_switch",
    "recache_sink",
    "old_history",
    "fade",
    "kv",
    "kv_layout",
    "replace",
)
"""Options that a video which is continued has of its own."""

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
        help="of a video that is continued: exact passes every block again, for the bits of an uninterrupted "
        f"rollout; window only those that are still attended; default: {REPLAYS[0]}",
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
        metavar="S",
        help=f"seconds that degrade waits for an answer first; default: {PATIENCE_S:g}",
    )


def patience_s(options: argparse.Namespace) -> float | None:
    """What `Request.patience_s` is by these options. Raises ConfigError."""
    seconds: float = PATIENCE_S if options.memory_patience is None else options.memory_patience
    if seconds <= 0:
        raise ConfigError(f"--memory-patience must be positive, got {seconds:g}")
    return seconds if options.on_memory_loss == DEGRADE else None


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError where a video is continued and yet defined anew."""
    which = "--resume" if options.resume else "--fork"
    may = () if options.resume else BRANCHES_HAVE
    for name in OF_THE_PLAN:
        if name not in may and is_given(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} is the video's own: {which} takes it from the memory"
            )
    if options.resume and options.video not in (None, options.resume):
        raise ConfigError(f"--video is {options.video!r}; --resume goes on with {options.resume!r}")


def planned(options: argparse.Namespace, memory: Memory) -> tuple[VideoKey, Plan]:
    """The video that is to be continued, or the branch that is to begin; its plan. Changes nothing.

    Raises PlanError, ConfigError, ServiceError.
    """
    from generator.requests.plan import Plan
    from generator.requests.resuming import branched, check_branch
    from memory_service.types import VideoKey

    if options.resume:
        key = VideoKey(options.pool, options.resume)
        return key, Plan.read(key, memory.get_video(key).spec)
    parent, frame = _leaves(options)
    info = memory.get_video(parent)
    plan = Plan.read(parent, info.spec)
    check_branch(parent, frame, info.state.length, plan.block_frames)
    num_frames = plan.num_frames if options.frames is None else options.frames
    key = VideoKey(options.pool, options.video or f"{parent.video}-from-{frame}")
    return key, branched(plan, frame, prompt(options), num_frames, options.seed)


def begin_branch(options: argparse.Namespace, memory: Memory, key: VideoKey) -> None:
    """Fork the branch `key` that was planned by these options. Raises PlanError, ServiceError."""
    from generator.requests.resuming import fork

    parent, frame = _leaves(options)
    fork(memory, parent, frame, key, prompt=prompt(options), num_frames=options.frames, seed=options.seed)


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

    Raises PlanError where they ask for another model.
    """
    own = {name: value for name, value in plan.loading.items() if name in LOADING}
    for name, value in own.items():
        if is_given(options, name) and getattr(options, name) != value:
            raise PlanError(_differs(name, getattr(options, name), value))
    return completed(argparse.Namespace(**{**vars(options), **own}))


def _differs(name: str, given: object, own: object) -> str:
    option = f"--{name.replace('_', '-')}"
    if own is None or own is False:
        return f"{option} is given, and this video was begun without it"
    return f"{option} is {given!r}; expected {own!r} for this video"


def _leaves(options: argparse.Namespace) -> tuple[VideoKey, int]:
    """The parent of a branch and the frame where it leaves. Raises PlanError."""
    from generator.requests.resuming import branch_point
    from memory_service.types import VideoKey

    video, frame = branch_point(options.fork)
    return VideoKey(options.pool, video), frame
