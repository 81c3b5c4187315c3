"""The published grammar of scenes, on the blocks that the reference gave them."""

from __future__ import annotations

from generator.story import cues
from generator.story.schedule import Schedule


def test_scenes_fall_on_the_blocks_of_the_reference(case) -> None:
    num_blocks = len(case["block_scene"])
    fps, block_frames = case.config.fps, case.config.pipeline["num_frame_per_block"]
    schedule = Schedule.of(cues.published(case.config.prompt), num_blocks, 4 * block_frames / fps)
    prompts = [schedule.prompt, *(turn.prompt for turn in schedule.turns)]
    assert prompts == case.info["scenes"]["prompts"]
    scenes, starts = schedule.scenes, [0, *(turn.block for turn in schedule.turns)]
    of_block = [sum(start <= block for start in starts) - 1 for block in range(num_blocks)]
    assert of_block == case["block_scene"].tolist()
    assert sorted(scenes.switches) == case["block_flush"].nonzero().flatten().tolist()
    assert sorted(scenes.cuts) == case["block_cut"].nonzero().flatten().tolist()
