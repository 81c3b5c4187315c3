"""The command line of videos that are continued: what it takes, what it refuses, and what it loads."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace

import pytest
from grey import grey_backbone, request_for

from encoder.pooling import AvgPool
from generator.__main__ import main
from generator.errors import ConfigError, PlanError
from generator.options.groups import parser
from generator.options.survival import (
    OF_THE_PLAN,
    begin_branch,
    check,
    load_as,
    loading,
    patience_s,
    planned,
)
from generator.processes.progress import LineMeter
from generator.requests.generate import generate_one
from generator.requests.plan import Plan
from memory_service.types import VideoKey

ANOTHER = {
    "--prompt": "b",
    "--schedule": None,
    "--scenes": "a[1s] | b[1s]",
    "--seed": "0",
    "--method": "native",
    "--frames": "240",
    "--window": "9",
    "--sink": "2",
    "--top-k": "2",
    "--guard": "1",
    "--min-gap": "4",
    "--mmr": "0.7",
    "--at-switch": "keep",
    "--old-history": "keep",
    "--fade": "0.9",
    "--kv": "exact",
    "--kv-layout": "alone",
    "--replace": "",
    "--recache-sink": "",
}
"""Option that defines a video -> a value for it, also where it is the default."""


def options(*words: str) -> argparse.Namespace:
    return parser().parse_args(["run", *words])


def test_every_option_of_a_plan_is_known() -> None:
    assert {option.removeprefix("--").replace("-", "_") for option in ANOTHER} == set(OF_THE_PLAN)


@pytest.mark.parametrize("option", ANOTHER)
def test_what_defines_a_video_is_not_given_again(option, tmp_path) -> None:
    story = tmp_path / "story.yaml"
    story.write_text("- a village")
    value = str(story) if option == "--schedule" else ANOTHER[option]
    words = [option, value] if value else [option]
    with pytest.raises(ConfigError, match=f"{option} is the video's own: --resume takes it from the memory"):
        check(options("--resume", "village", *words))
    if option in ("--prompt", "--seed", "--frames"):
        check(options("--fork", "village@3", *words))
    else:
        with pytest.raises(ConfigError, match="--fork takes it from the memory"):
            check(options("--fork", "village@3", *words))


def test_where_things_lie_is_given(tmp_path) -> None:
    places = "--memory", "unix:/m", "--pool", "p", "--out", str(tmp_path), "--weights", "w", "--encoder", "e"
    check(
        options("--resume", "village", *places, "--device", "cuda:1", "--threads", "2", "--text-cache", "t")
    )
    with pytest.raises(ConfigError, match="--video is 'castle'; --resume goes on with 'village'"):
        check(options("--resume", "village", "--video", "castle"))


def test_patience_is_of_those_who_degrade() -> None:
    assert patience_s(options("--prompt", "a")) is None
    assert patience_s(options("--prompt", "a", "--on-memory-loss", "degrade")) == 2
    given = "--on-memory-loss", "degrade", "--memory-patience"
    assert patience_s(options("--prompt", "a", *given, "0.5")) == 0.5
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        patience_s(options("--prompt", "a", *given, "0"))


def test_one_way_to_begin_is_needed(capsys) -> None:
    for words in ([], ["--resume", "a", "--fork", "a@3"]):
        with pytest.raises(SystemExit) as ended:
            main(["run", *words])
        assert ended.value.code == 2
    assert "one of --prompt, --schedule, --scenes, --resume and --fork is required" in capsys.readouterr().err


@pytest.fixture
def village(memory, tmp_path) -> VideoKey:
    """A video of 27 frames that the command line made with another backbone than the default."""
    model = argparse.Namespace(backbone="longlive", unmerged=True, height=240, width=416, vae_chunk=60)
    request = request_for(tmp_path, "native")
    meter = LineMeter(lambda _: None)
    meter.plan("village", request.num_frames)
    request.out.mkdir()
    request = replace(request, loading=loading(model))
    generate_one(request, "native", grey_backbone(), AvgPool(16), memory, meter)
    return VideoKey("films", "village")


def test_the_model_of_a_plan_is_loaded_from_where_the_options_say(memory, village) -> None:
    given = options("--resume", "village", "--pool", "films", "--weights", "here")
    key, plan = planned(given, memory)
    wanted = load_as(given, plan)
    assert key == village
    assert (wanted.backbone, wanted.unmerged, wanted.height, wanted.vae_chunk) == ("longlive", True, 240, 60)
    assert str(wanted.weights) == "here"
    assert wanted.numerics == "stock"


@pytest.mark.usefixtures("village")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--backbone", "wan"], "--backbone is 'wan'; expected 'longlive' for this video"),
        (["--backbone", "toy"], "--backbone is 'toy'; expected 'longlive'"),
        (["--numerics", "stock"], "--numerics is 'stock'; expected 'reference'"),
        (["--height", "480"], "--height is 480; expected 240"),
        (["--vae-chunk", "3"], "--vae-chunk is 3; expected 60"),
        (["--compile"], "--compile is given, and this video was begun without it"),
        (["--width", "832"], "--width is given, and this video was begun without it"),
        (["--container", "ema"], "--container is given, and this video was begun without it"),
    ],
)
def test_another_model_than_that_of_the_plan_is_refused(memory, words, reason) -> None:
    given = options("--resume", "village", "--pool", "films", *words)
    plan = planned(given, memory)[1]
    made_with = {**plan.loading, "numerics": "reference", "compile": False, "width": None}
    with pytest.raises(PlanError, match=re.escape(reason)):
        load_as(given, replace(plan, loading=made_with))


@pytest.mark.usefixtures("village")
def test_the_model_of_a_plan_may_be_named(memory) -> None:
    same = "--backbone", "longlive", "--unmerged", "--height", "240", "--width", "416", "--vae-chunk", "60"
    given = options("--resume", "village", "--pool", "films", *same)
    assert load_as(given, planned(given, memory)[1]).backbone == "longlive"


@pytest.mark.usefixtures("village")
def test_a_branch_is_named_after_its_parent_or_by_the_user(memory) -> None:
    key, plan = planned(options("--fork", "village@12", "--pool", "films", "--prompt", "a castle"), memory)
    assert key == VideoKey("films", "village-from-12")
    words = "--fork", "village@12", "--pool", "films", "--video", "mine", "--frames", "30", "--seed", "5"
    key, plan = planned(options(*words), memory)
    assert key == VideoKey("films", "mine")
    assert (plan.num_frames, plan.noise[-1].seed, plan.noise[-1].from_block) == (30, 5, 4)
    assert {info.key.video for info in memory.list_videos("films")} == {"village"}
    begin_branch(options(*words), memory, key)
    kept = Plan.read(key, memory.get_video(key).spec)
    assert kept == replace(plan, parent="films/village@12")
    for words in (["--prompt", "3s:a castle"], ["--prompt", "a", "--prompt", "3s:b"]):
        with pytest.raises(ConfigError, match="takes one --prompt without a time"):
            planned(options("--fork", "village@12", "--pool", "films", *words), memory)
