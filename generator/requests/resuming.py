"""Going on with videos that the memory has: as they were begun, or as a branch with another prompt."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from generator.errors import PlanError
from generator.history.past import Past
from generator.noise import NoisePart
from generator.requests.plan import PLAN, Plan
from generator.story.schedule import Schedule, Turn
from memory_service.memory import Memory
from memory_service.types import VideoInfo, VideoKey

BRANCH = re.compile(r"(?P<video>[^@]+)@(?P<frame>\d+)", re.ASCII)


def branch_point(text: str) -> tuple[str, int]:
    """Video and latent frame out of "VIDEO@FRAME". Raises PlanError."""
    match = BRANCH.fullmatch(text)
    if match is None:
        raise PlanError(f"--fork must be VIDEO@FRAME, such as village@120, got {text!r}")
    return match["video"], int(match["frame"])


def taken_over(memory: Memory, key: VideoKey, now: Plan, replay: str) -> Past:
    """The past of a video whose rollout ended before its plan did; whoever still writes to it is fenced.

    now: the plan by which it would be made here. replay: see `Replay`. Raises PlanError where that is another
    plan, and ServiceError.
    """
    info = memory.get_video(key)
    plan = Plan.read(key, info.spec)
    plan.check(key, now)
    if info.state.length > plan.num_frames:
        raise PlanError(f"video {key} has {info.state.length} frames; its plan has {plan.num_frames}")
    return Past.taken_over(memory, key, plan.block_frames, replay)


def fork(
    memory: Memory,
    parent: VideoKey,
    frame: int,
    child: VideoKey,
    *,
    prompt: str | None = None,
    num_frames: int | None = None,
    seed: int | None = None,
) -> VideoInfo:
    """A video that begins with the first `frame` frames of its parent and has a plan of its own.

    prompt: from there on; seed, num_frames: of the branch. None is the parent's. The same fork again gives
    the one that is there. Raises PlanError, ServiceError.
    """
    spec = memory.get_video(parent)
    plan = Plan.read(parent, spec.spec)
    check_branch(parent, frame, spec.state.length, plan.block_frames)
    branch = branched(plan, frame, prompt, num_frames or plan.num_frames, seed)
    branch = replace(branch, parent=f"{parent}@{frame}")
    metadata = {
        **spec.spec.metadata,
        PLAN: branch.to_json(),
        "schedule": json.dumps(branch.schedule),
        "seed": str(branch.noise[-1].seed),
    }
    return memory.fork_video(parent, child, length=frame, metadata=metadata)


def check_branch(parent: VideoKey, frame: int, length: int, block_frames: int) -> None:
    """Raises PlanError with the nearest frames at which a branch can leave."""
    below = min(frame, length) // block_frames * block_frames
    nearest = sorted({max(below, block_frames), min(below + block_frames, length)})
    if frame % block_frames or not block_frames <= frame <= length:
        expected = " or ".join(map(str, nearest)) if length else "frames, and there are none"
        raise PlanError(f"no block of {parent} ends at frame {frame}; expected {expected}")


def branched(plan: Plan, frame: int, prompt: str | None, num_frames: int, seed: int | None) -> Plan:
    """The plan of a branch: its parent's up to `frame`.

    Its noise is its parent's all along where seed and length are: then nothing but the prompt differs.
    """
    if num_frames <= frame or num_frames % plan.block_frames:
        raise PlanError(f"frames must be a multiple of {plan.block_frames} beyond {frame}, got {num_frames}")
    block, num_blocks = frame // plan.block_frames, num_frames // plan.block_frames
    schedule = Schedule.from_json(plan.schedule)
    turns = tuple(turn for turn in schedule.turns if turn.block < num_blocks)
    if prompt is not None:
        asked = Turn(block=block, prompt=prompt, asked_s=frame / plan.latent_fps)
        turns = (*(turn for turn in turns if turn.block < block), asked)
    noise = branched_noise(plan.noise, block, num_blocks, seed)
    return replace(
        plan, schedule=Schedule(schedule.prompt, turns).to_json(), num_frames=num_frames, noise=noise
    )


def branched_noise(
    parts: tuple[NoisePart, ...], block: int, num_blocks: int, seed: int | None
) -> tuple[NoisePart, ...]:
    """The noise of a branch that leaves at `block`; its parent's where seed and length are."""
    if seed is None and num_blocks == parts[-1].num_blocks:
        return parts
    left = [part for part in parts if part.from_block <= block][-1]
    own = NoisePart(
        from_block=block,
        prompt=left.prompt,
        seed=left.seed if seed is None else seed,
        num_blocks=num_blocks,
    )
    before = tuple(part for part in parts if part.from_block < block)
    return before if replace(own, from_block=before[-1].from_block) == before[-1] else (*before, own)
