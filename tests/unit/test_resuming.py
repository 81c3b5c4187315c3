"""Videos that are continued and branched from what the memory has of them, and from nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from grey import PROMPT, grey_backbone, request_for
from safetensors.torch import load_file

from encoder.pooling import AvgPool
from generator.errors import PlanError
from generator.noise import NoisePart
from generator.processes.progress import LineMeter
from generator.records.record import RolloutRecord
from generator.records.video import read_frames
from generator.requests.generate import generate_one
from generator.requests.plan import PLAN, Plan
from generator.requests.resuming import branch_point, branched_noise, fork
from generator.story.schedule import Turn
from memory_service.types import VideoKey, VideoSpec

KEY = VideoKey("films", "village")
CHILD = VideoKey("films", "branch")
OTHER = "a summer castle at noon; pan left 3s, pan right 3s"
FRAMES = 36
ENCODER = AvgPool(16)


class Interrupted(Exception):
    """Stands for the death of a process."""


class DyingMeter(LineMeter):
    """Ends the rollout after so many frames."""

    def __init__(self, frames: int) -> None:
        super().__init__(lambda _: None)
        self._left = frames

    def advance(self, label: str, frames: int) -> None:
        super().advance(label, frames)
        self._left -= frames
        if self._left <= 0:
            raise Interrupted


@pytest.fixture(scope="module")
def backbone():
    return grey_backbone()


@pytest.fixture
def run(backbone, memory):
    def generate(request, *, die_after=10**9, backbone=backbone, encoder=ENCODER):
        request.out.mkdir(parents=True, exist_ok=True)
        meter = DyingMeter(die_after)
        meter.plan(request.video, request.num_frames)
        return generate_one(request, request.methods[0], backbone, encoder, memory, meter)

    return generate


def plan_of(memory, key=KEY) -> Plan:
    return Plan.read(key, memory.get_video(key).spec)


def latents(output):
    return load_file(output.files[1])["latents"]


def test_the_memory_alone_continues_a_video(tmp_path, run, memory) -> None:
    request = request_for(tmp_path / "a", "longlive_rag", num_frames=FRAMES, window_frames=11)
    with pytest.raises(Interrupted):
        run(request, die_after=24)
    resumed = run(plan_of(memory).request(KEY, tmp_path / "b"))
    whole = run(replace(request, video="whole", out=tmp_path / "c"))
    assert latents(resumed).equal(latents(whole))
    assert [block.replayed for block in resumed.record.blocks] == [True] * 8 + [False] * 4
    assert RolloutRecord.read(resumed.files[2]) == resumed.record
    ours, theirs = (list(read_frames(output.files[0])) for output in (resumed, whole))
    assert len(ours) == len(theirs) == 2 * FRAMES - 1
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_prompts_that_turn_are_continued_with_their_turns(tmp_path, run, memory) -> None:
    turns = (Turn(block=4, prompt=OTHER, asked_s=3.0), Turn(block=9, prompt=PROMPT, cut=True, asked_s=6.75))
    request = replace(request_for(tmp_path, "infinity_rope", num_frames=FRAMES), turns=turns)
    with pytest.raises(Interrupted):
        run(request, die_after=18)
    resumed = run(plan_of(memory).request(KEY, tmp_path / "b"))
    assert latents(resumed).equal(latents(run(replace(request, video="whole"))))
    assert resumed.record.turns == turns


@pytest.mark.parametrize("method", ["native", "longlive_rag", "deep_forcing"])
def test_a_fork_is_its_parent_up_to_the_frame_and_another_video_from_there(
    tmp_path, run, memory, method
) -> None:
    parent = run(request_for(tmp_path, method, num_frames=FRAMES))
    fork(memory, KEY, 27, CHILD, prompt=OTHER)
    child = run(plan_of(memory, CHILD).request(CHILD, tmp_path))
    assert latents(child)[:27].equal(latents(parent)[:27])
    assert not latents(child)[27:30].equal(latents(parent)[27:30])
    assert len(list(read_frames(child.files[0]))) == 2 * FRAMES - 1
    assert [(turn.block, turn.prompt) for turn in child.record.turns] == [(9, OTHER)]
    info = memory.get_video(CHILD)
    assert (info.parent.key, info.parent.length, info.state.length) == (KEY, 27, FRAMES)
    assert plan_of(memory, CHILD).parent == "films/village@27"
    assert fork(memory, KEY, 27, CHILD, prompt=OTHER).state.length == FRAMES, "the same again"


def test_a_fork_by_the_same_plan_is_its_parent(tmp_path, run, memory) -> None:
    """The noise of a branch is its parent's: nothing but the prompt makes them differ."""
    parent = run(request_for(tmp_path, "longlive_rag", num_frames=FRAMES))
    fork(memory, KEY, 21, CHILD)
    assert latents(run(plan_of(memory, CHILD).request(CHILD, tmp_path))).equal(latents(parent))


def test_a_fork_of_a_fork_by_the_same_plan_is_its_parent(tmp_path, run, memory) -> None:
    """Also where it leaves before its parent's own noise begins."""
    run(request_for(tmp_path, "longlive_rag", num_frames=FRAMES))
    fork(memory, KEY, 15, CHILD, seed=7)
    child = run(plan_of(memory, CHILD).request(CHILD, tmp_path))
    grandchild = VideoKey("films", "third")
    fork(memory, CHILD, 6, grandchild)
    assert latents(run(plan_of(memory, grandchild).request(grandchild, tmp_path))).equal(latents(child))
    assert memory.get_video(grandchild).spec.metadata["seed"] == "7"


def test_a_longer_branch_goes_on_with_the_noise_that_was_in_force() -> None:
    parts = tuple(NoisePart(from_block=b, prompt="a", seed=s, num_blocks=12) for b, s in ((0, 1), (5, 2)))
    made = branched_noise(parts, 3, 14, None)
    assert [(part.from_block, part.seed, part.num_blocks) for part in made] == [(0, 1, 12), (3, 1, 14)]
    made = branched_noise(parts, 8, 14, None)
    assert [(part.from_block, part.seed) for part in made] == [(0, 1), (5, 2), (8, 2)]
    assert branched_noise(parts, 8, 12, 2) == parts


def test_a_fork_may_be_longer_and_have_a_seed_of_its_own(tmp_path, run, memory) -> None:
    parent = run(request_for(tmp_path, "deep_forcing", num_frames=33))
    fork(memory, KEY, 33, CHILD, num_frames=39, seed=7)
    child = run(plan_of(memory, CHILD).request(CHILD, tmp_path))
    assert latents(child)[:33].equal(latents(parent))
    assert child.record.num_frames == 39
    assert [part.from_block for part in plan_of(memory, CHILD).noise] == [0, 11]


def test_a_fork_of_a_fork_whose_process_died(tmp_path, run, memory) -> None:
    run(request_for(tmp_path, "longlive_rag", num_frames=FRAMES))
    fork(memory, KEY, 24, CHILD, prompt=OTHER)
    with pytest.raises(Interrupted):
        run(plan_of(memory, CHILD).request(CHILD, tmp_path), die_after=30)
    memory.drop_video(KEY)
    grandchild = VideoKey("films", "third")
    fork(memory, CHILD, 27, grandchild, prompt=PROMPT)
    child = run(plan_of(memory, CHILD).request(CHILD, tmp_path))
    third = run(plan_of(memory, grandchild).request(grandchild, tmp_path))
    assert latents(third)[:27].equal(latents(child)[:27])
    assert not latents(third)[27:30].equal(latents(child)[27:30])
    assert [turn.block for turn in third.record.turns] == [8, 9]


@pytest.mark.parametrize(("frame", "expected"), [(25, "24 or 27"), (0, "3"), (40, "36"), (2, "3")])
def test_a_fork_leaves_where_a_block_ends(tmp_path, run, memory, frame, expected) -> None:
    run(request_for(tmp_path, "native", num_frames=FRAMES))
    with pytest.raises(PlanError, match=f"ends at frame {frame}; expected {expected}"):
        fork(memory, KEY, frame, CHILD)
    assert branch_point("village@25") == ("village", 25)
    with pytest.raises(PlanError, match="VIDEO@FRAME"):
        branch_point("village")


def test_other_weights_encoder_or_dtype_are_refused_by_name(tmp_path, run, memory) -> None:
    with pytest.raises(Interrupted):
        run(request_for(tmp_path, "native", num_frames=FRAMES), die_after=9)
    request, epoch = plan_of(memory).request(KEY, tmp_path), memory.get_video(KEY).state.epoch
    with pytest.raises(PlanError, match=r"weights is '[0-9a-f]{16}'; expected"):
        run(request, backbone=grey_backbone(seed=1))
    with pytest.raises(PlanError, match=r"dtype is 'torch.bfloat16'; expected 'torch.float32'"):
        run(request, backbone=grey_backbone(dtype=torch.bfloat16))
    with pytest.raises(PlanError, match="backbone is 'other'; expected 'grey'"):
        run(request, backbone=replace(grey_backbone(), name="other"))
    with pytest.raises(PlanError, match="encoder is 'avg-pool/8'; expected 'avg-pool/16'"):
        run(request, encoder=AvgPool(8))
    with pytest.raises(PlanError, match=r"config.window.sink_frames is 2; expected 1"):
        run(replace(request, window_changes={"sink_frames": 2}))
    assert memory.get_video(KEY).state.epoch == epoch, "nobody was fenced"


def test_other_versions_and_threads_are_said(tmp_path, run, memory, caplog) -> None:
    with pytest.raises(Interrupted):
        run(request_for(tmp_path, "native", num_frames=FRAMES), die_after=9)
    plan = plan_of(memory)
    older = replace(plan, versions={**plan.versions, "torch": "1.0"})
    older.check(KEY, plan)
    assert "versions.torch is" in caplog.text
    assert "expected '1.0'" in caplog.text


def test_videos_of_others_are_not_continued(tmp_path, run, memory) -> None:
    memory.create_video(KEY, VideoSpec(16, "float32", (16, 8, 8), "avg-pool/16"))
    with pytest.raises(PlanError, match="films/village has no 'plan'"):
        run(replace(request_for(tmp_path, "native"), resume=True))
    future = VideoKey("films", "future")
    memory.create_video(
        future, VideoSpec(16, "float32", (16, 8, 8), "avg-pool/16", {PLAN: json.dumps({"format": 3})})
    )
    with pytest.raises(PlanError, match="format 3; expected 2"):
        plan_of(memory, future)
