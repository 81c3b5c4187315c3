"""The ablation: what it rolls out, what it measures, and what its table says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ablation import plot
from benchmarks.ablation.arms import ARMS, FULL, NEAREST_ARM, ORACLE_ARM, RANDOM, RELATIVE
from benchmarks.ablation.measures import CEILING_DB, Worth, coverage, off_painted, worth
from benchmarks.ablation.report import document
from benchmarks.ablation.runs import Job, read, roll, run, run_all
from benchmarks.ablation.statistics import difference
from benchmarks.ablation.stories import NUM_FRAMES, Story, from_nothing, stories
from generator.backbones import TOY_WEIGHTS
from generator.configs import Window
from generator.methods.context import Context, Placed, block_spans, eligible
from generator.records.revisit import returns
from generator.toy.codec import ToyCodec
from generator.toy.prompts import parse
from generator.toy.world import VIEW_CELLS, paint
from memory_service.types import Handle, VideoKey

WINDOW = Window()
SHORT = Story("a summer village at noon; pan right 3s, pan left 6s", seed=0, given_frames=12)
SHORT_FRAMES = 27


def painted(story: Story, num_frames: int, world_seed: int = 1) -> np.ndarray:
    """A world along a story's path, uint8 [n, 64, 64, 3]."""
    cells = story.cells(num_frames)
    path = cells - cells.min()
    world = paint(story.scene, int(path.max()) + VIEW_CELLS, np.random.default_rng(world_seed))
    return np.stack([world.view(int(cell), frame % 2) for frame, cell in enumerate(path)])


def attended(arm, story: Story, num_frames: int) -> list[Context]:
    """What the blocks of a video attend by a method that does not search."""
    policy = arm.policy(story.cells(num_frames).tolist())

    def handle(frame: int) -> Handle:
        return Handle(VideoKey("p", "v"), 1, frame)

    return [
        policy.context(WINDOW, span, retrieved=[*map(handle, policy.chosen(WINDOW, span))])
        for span in block_spans(num_frames // WINDOW.block_frames, WINDOW)
    ]


def test_every_story_comes_back() -> None:
    for story in (*stories(2), *from_nothing(1)):
        back = returns(story.cells(NUM_FRAMES).tolist())
        assert len(back) >= 60, story
        assert min(each.frame for each in back) >= story.given_frames, "what is given is no return"
        assert sum(seconds for _, seconds in parse(story.prompt).moves) * 4 <= NUM_FRAMES


def test_arms_bear_different_names_and_share_a_control() -> None:
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    assert {RELATIVE, RANDOM, FULL, ORACLE_ARM} <= set(ARMS)


@pytest.mark.parametrize("story", stories(1)[:3])
def test_the_oracle_retrieves_eligible_frames_that_show_what_is_needed(story) -> None:
    cells = story.cells(NUM_FRAMES).tolist()
    contexts = attended(ORACLE_ARM, story, NUM_FRAMES)
    for context in contexts:
        allowed = eligible(WINDOW, context.span)
        assert all(allowed.start <= p.source.frame < allowed.stop for p in context.retrieved)
    back = {each.frame for each in returns(cells)}
    assert coverage(cells, contexts, back) > 0.95
    assert coverage(cells, attended(RANDOM, story, NUM_FRAMES), back) < 0.6
    assert coverage(cells, attended(RELATIVE, story, NUM_FRAMES), back) == 0


def test_the_nearest_place_is_that_of_the_last_frame_and_was_first_seen_then() -> None:
    story = stories(1)[0]
    cells = story.cells(NUM_FRAMES)
    for context in attended(NEAREST_ARM, story, NUM_FRAMES):
        allowed, here = eligible(WINDOW, context.span), cells[context.span.start - 1]
        seen = cells[allowed.start : allowed.stop].tolist()
        chosen = [placed.source.frame - allowed.start for placed in context.retrieved]
        assert all(seen.index(seen[frame]) == frame for frame in chosen), "first visits"
        nearest = sorted(abs(cell - here) for cell in set(seen))[: WINDOW.top_k]
        assert sorted(abs(seen[frame] - here) for frame in chosen) == nearest


@pytest.mark.parametrize("arm", [RANDOM, NEAREST_ARM, ORACLE_ARM])
def test_a_given_past_retrieves_nothing(arm) -> None:
    given = 60
    policy = arm.policy(stories(1)[0].cells(NUM_FRAMES).tolist(), given)
    chosen = {span.start: policy.chosen(WINDOW, span) for span in block_spans(40, WINDOW)}
    assert not any(frames for start, frames in chosen.items() if start < given)
    assert all(len(frames) == WINDOW.top_k for start, frames in chosen.items() if start >= given)


def test_what_is_given_begins_the_video_and_can_be_retrieved(tmp_path) -> None:
    frames, contexts = roll(job(tmp_path, FULL))
    given = SHORT.given(ToyCodec.load(TOY_WEIGHTS / "codec.safetensors"))
    true = ToyCodec.load(TOY_WEIGHTS / "codec.safetensors").decode(given)
    assert np.array_equal(frames[: SHORT.given_frames], true)
    assert len(frames) == SHORT_FRAMES
    retrieved = {placed.source.frame for context in contexts for placed in context.retrieved}
    assert retrieved
    assert max(retrieved) < SHORT.given_frames


def test_coverage_counts_the_columns_that_local_frames_lack() -> None:
    # Frames 0..8 go right by one cell; 9..11 would come back to cells 3, 2, 1 with frame 8's view at 4.
    cells = [0, 1, 2, 3, 12, 11, 10, 5, 4, 3, 2, 1]
    span = list(block_spans(4, Window(window_frames=12)))[3]

    def context(retrieved: list[int]) -> Context:
        key = VideoKey("p", "v")
        return Context(
            span=span,
            sink=(Placed(0, 0),),
            retrieved=tuple(Placed(Handle(key, 1, frame), 0) for frame in retrieved),
            local=(Placed(7, 7), Placed(8, 8)),
            query_positions=(9, 10, 11),
            key_positions=(9, 10, 11),
            kept=frozenset(),
        )

    # Needed are columns 1, 2 and 3.
    assert coverage(cells, [context([3])], {9, 10, 11}) == pytest.approx(1 / 3)
    assert coverage(cells, [context([1])], {9, 10, 11}) == 1
    assert coverage(cells, [context([4])], {9, 10, 11}) == 0
    assert coverage(cells, [context([1])], {9, 10}) == 0, "a block that is no return does not count"


def test_the_world_itself_is_worth_most_and_another_world_least() -> None:
    story = stories(1)[0]
    cells = story.cells(NUM_FRAMES).tolist()
    true = painted(story, NUM_FRAMES)
    best = worth(true, cells, story.scene, [])
    assert best.revisit_psnr_db == CEILING_DB
    assert best.revisit_ssim == pytest.approx(1, abs=1e-4)
    assert best.elsewhere_psnr_db < 20
    assert np.mean(best.detail) == pytest.approx(1, abs=0.15)
    other = painted(story, NUM_FRAMES, world_seed=2)
    turn = story.given_frames
    forgotten = worth(np.concatenate([true[:turn], other[turn:]]), cells, story.scene, [])
    assert forgotten.revisit_psnr_db < 20
    assert forgotten.revisit_ssim < 0.8


@pytest.mark.parametrize("companion", ["with a bird", "with a balloon"])
def test_a_place_is_the_same_at_the_other_stroke_of_a_companion(companion) -> None:
    """A hold of five blocks is an odd number of frames, so that each place comes back at the other stroke."""
    prompt = f"a summer village at noon with hills {companion}; pan right 6s, hold 4s, pan left 6s"
    story = Story(prompt, 0, given_frames=0)
    frames, cells = painted(story, 63), story.cells(63).tolist()
    found = worth(frames, cells, story.scene, [])
    assert {db for _, db in found.returns_db} == {CEILING_DB}
    last = found.returns_db[-1][0]
    assert (frames[last] != frames[cells.index(cells[last])]).any(), "the companion did move"


def test_drift_shows_in_looks_and_detail_and_not_in_where_things_stand() -> None:
    story = stories(1)[0]
    frames, other = painted(story, NUM_FRAMES), painted(story, NUM_FRAMES, world_seed=2)
    cells = story.cells(NUM_FRAMES).tolist()
    blurred = (sum(np.roll(frames.astype(int), shift, (1, 2)) for shift in range(4)) // 4).astype(np.uint8)

    def late(frames_after: np.ndarray) -> tuple[float, float, float]:
        video = worth(np.concatenate([frames[:200], frames_after[200:]]), cells, story.scene, [])
        return float(np.mean(video.drift[:200])), float(np.mean(video.drift[200:])), max(video.detail[200:])

    for changed in (np.full_like(frames, 128), blurred, (frames * 0.8).astype(np.uint8)):
        before, after, _ = late(changed)
        assert 2 * before < after
    before, after, _ = late(other)
    assert after < min(8, 1.5 * before), "another place of the same scene has not drifted"
    assert late(np.full_like(frames, 128))[2] == 0


def test_cells_are_compared_at_their_own_height() -> None:
    panorama = paint(stories(1)[0].scene, 24, np.random.default_rng(0))
    views = np.stack([panorama.view(cell, 0) for cell in (0, 7, 16)])
    assert off_painted(views, panorama).max() < 1
    assert off_painted(views[:, ::-1].copy(), panorama).min() > 20
    assert off_painted(np.roll(views, 8, axis=2), panorama).max() < 1


def test_a_video_that_never_comes_back_is_refused() -> None:
    story = Story("a summer village at noon; pan right 30s", 0, given_frames=0)
    with pytest.raises(ValueError, match="comes back to no place within 12 frames"):
        worth(painted(story, 12), story.cells(12).tolist(), story.scene, [])


def job(tmp_path, arm=RELATIVE) -> Job:
    encoders = {"full": TOY_WEIGHTS / "encoder.safetensors"}
    return Job(
        arm=arm, story=SHORT, num_frames=SHORT_FRAMES, weights=TOY_WEIGHTS, encoders=encoders, out=tmp_path
    )


def test_a_job_leaves_its_numbers_and_is_not_done_again(tmp_path, monkeypatch) -> None:
    made = run(job(tmp_path, FULL))
    assert made == run(job(tmp_path / "again", FULL)), "same story, same noise, same video"
    assert read(job(tmp_path, FULL).result).revisit_psnr_db == made.revisit_psnr_db
    assert job(tmp_path, FULL).result.with_suffix(".png").exists()
    monkeypatch.setattr("benchmarks.ablation.runs.roll", lambda _: pytest.fail("rolled out again"))
    ((_, found),) = run_all([job(tmp_path, FULL)], workers=1)
    assert found.revisit_psnr_db == made.revisit_psnr_db


def test_names_of_results_tell_apart_all_that_they_depend_on(tmp_path) -> None:
    first = job(tmp_path)
    others = [
        job(tmp_path, FULL),
        replace(first, num_frames=30),
        replace(first, story=replace(SHORT, seed=1)),
    ]
    assert len({each.name for each in (first, *others)}) == 4


def test_differences_are_of_pairs() -> None:
    values = np.random.default_rng(0).normal(20, 2, 16)
    shifted = difference((values + 1).tolist(), values.tolist())
    assert (shifted.mean, shifted.low, shifted.high) == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="zip"):
        difference([1.0], [1.0, 2.0])


def valued(db: float) -> Worth:
    return Worth(
        revisit_psnr_db=db,
        revisit_ssim=0.5,
        elsewhere_psnr_db=14.0,
        returns_db=((40, db), (41, db), (70, db)),
        drift=(1.0,) * 72,
        detail=(1.0,) * 72,
        coverage=0.5,
    )


def test_the_report_sets_the_full_loss_beside_every_arm_and_counts_who_keeps_the_first_places() -> None:
    late = replace(valued(20.0), returns_db=((40, 45.0), (63, 45.0), (64, 10.0)))
    worths = {
        RELATIVE.name: [valued(16.0), valued(17.0)],
        RANDOM.name: [valued(15.0), valued(15.0)],
        FULL.name: [late, valued(21.0)],
        ORACLE_ARM.name: [valued(41.0), valued(41.0)],
    }
    section = document(worths, {}, "a machine", []).partition("## The full loss, video by video")[2]
    assert "| relative | +4.00 (+4.00 to +4.00) | 0 of 2 |" in section
    assert "| random memory | +5.50 (+5.00 to +6.00) | 0 of 2 |" in section
    assert "| full loss |  | 1 of 2 |" in section, "its first six seconds, not what comes after them"
    assert "| oracle memory | -20.50 (-21.00 to -20.00) | 2 of 2 |" in section


@pytest.mark.parametrize(("full", "met"), [(22.5, [True, True, True]), (15.0, [False, False, False])])
def test_the_report_says_which_targets_are_met(full, met, tmp_path) -> None:
    worths = {
        RELATIVE.name: [valued(16.0)] * 4,
        RANDOM.name: [valued(15.5)] * 4,
        FULL.name: [valued(full)] * 4,
        ORACLE_ARM.name: [valued(23.0)] * 4,
    }
    text = document(worths, {}, "a machine", ["--seeds", "1"])
    lines = text.partition("## Targets")[2].partition("##")[0].strip().splitlines()
    assert ["(met" in line for line in lines] == met
    assert text.index("oracle memory |") < text.index("| random memory")
    plot.save(worths, tmp_path / "figure.png", "a machine")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
