"""Prompts and when each begins: three ways to ask for them, and the blocks that they get."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import torch

from generator.backbones import ToyText
from generator.errors import ConfigError
from generator.methods.context import Scenes
from generator.options.groups import parser
from generator.options.story import switching, told
from generator.story import cues
from generator.story.cues import Cue
from generator.story.schedule import Schedule, Turn
from generator.story.switching import Switching
from generator.story.text import PromptTrack
from generator.toy import prompts as toy

BLOCK_S = 0.75


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("a storm comes", Cue(prompt="a storm comes")),
        ("12s:a storm comes", Cue(prompt="a storm comes", at_s=12)),
        ("1.5m: a storm comes", Cue(prompt="a storm comes", at_s=90)),
        ("12.25s#:a storm comes", Cue(prompt="a storm comes", at_s=12.25, cut=True)),
        ("16b:a storm comes", Cue(prompt="a storm comes", at_block=16)),
        ("note: a storm comes", Cue(prompt="note: a storm comes")),
        ("12:30 at noon", Cue(prompt="12:30 at noon")),
        ("5s:one: two", Cue(prompt="one: two", at_s=5)),
    ],
)
def test_an_option_is_a_prompt_with_or_without_its_time(text: str, cue: Cue) -> None:
    assert cues.of_option(text) == cue


@pytest.mark.parametrize("text", ["", "  ", "12s:", "1.5b:half a block"])
def test_an_option_without_a_prompt_or_a_whole_block_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        cues.of_option(text)


def test_a_file_is_a_list_of_prompts(tmp_path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(
        "- a village at noon\n"
        "- {at: 12s, prompt: a storm comes}\n"
        "- at: 20.5\n  prompt: a castle\n  cut: true\n"
        "- {at: 40b, prompt: night}\n"
    )
    assert cues.read(path) == (
        Cue(prompt="a village at noon"),
        Cue(prompt="a storm comes", at_s=12),
        Cue(prompt="a castle", at_s=20.5, cut=True),
        Cue(prompt="night", at_block=40),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "list of prompts"),
        ("{}", "list of prompts"),
        ("[", "no YAML"),
        ("- {at: 3s}", "entry 1"),
        ("- a\n- {prompt: b, at: soon}", "entry 2.*like 12s"),
        ("- {prompt: b, at: 12s#}", "entry 1"),
        ("- {prompt: b, when: 3s}", "entry 1"),
        ("- {prompt: b, cut: perhaps}", "true or false"),
        ("- 7", "entry 1"),
        ("- {prompt: !!python/name:os.system x}", "no YAML"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, text: str, complaint: str) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        cues.read(path)


def test_the_published_grammar_cuts_at_the_end_of_a_scene() -> None:
    assert cues.published("one[10s] | two[3.75s#]|three [5s#]") == (
        Cue(prompt="one"),
        Cue(prompt="two", after_s=10),
        Cue(prompt="three", after_s=3.75, cut=True),
    )


@pytest.mark.parametrize("text", ["one", "one[10s] two[5s]", "one[ten]", "one[10]", "[10s]", "one[10s] |"])
def test_other_grammars_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match='like "text'):
        cues.published(text)


def test_times_go_to_the_nearest_block_and_are_kept_as_asked() -> None:
    asked = [Cue(prompt="a"), Cue(prompt="b", at_s=12), Cue(prompt="c", at_s=20.3, cut=True)]
    schedule = Schedule.of([*asked, Cue(prompt="d", at_block=33)], 40, BLOCK_S)
    assert schedule.turns == (
        Turn(block=16, prompt="b", asked_s=12),
        Turn(block=27, prompt="c", asked_s=20.3, cut=True),
        Turn(block=33, prompt="d", asked_s=24.75),
    )
    assert schedule.scenes == Scenes(switches=frozenset([16, 27, 33]), cuts=frozenset([27]))
    assert Schedule.of([Cue(prompt="a"), Cue(prompt="b", at_s=1.125)], 4, BLOCK_S).turns[0].block == 2


def test_published_scenes_take_whole_blocks_and_the_last_one_the_rest() -> None:
    schedule = Schedule.of(cues.published("a[4s] | b[4s#] | c[1s]"), 40, BLOCK_S)
    assert [(turn.block, turn.cut) for turn in schedule.turns] == [(5, False), (10, True)]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ([], "must begin the video"),
        ([Cue(prompt="a", at_s=5)], "must begin the video"),
        ([Cue(prompt="a"), Cue(prompt="b")], "must stand in order"),
        ([Cue(prompt="a"), Cue(prompt="b", at_s=0.2)], "must stand in order"),
        ([Cue(prompt="a"), Cue(prompt="b", at_s=9), Cue(prompt="c", at_s=3)], "must stand in order"),
        ([Cue(prompt="a"), Cue(prompt="b", at_s=30)], r"block 40 \(30 s\); the video has 40 blocks"),
    ],
)
def test_schedules_that_no_video_can_follow_are_refused(asked: list[Cue], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Schedule.of(asked, 40, BLOCK_S)


def test_a_schedule_survives_json() -> None:
    schedule = Schedule.of([Cue(prompt="a"), Cue(prompt="b", at_s=12, cut=True)], 40, BLOCK_S)
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    assert Schedule.from_json(Schedule("a").to_json()) == Schedule("a")
    for damaged in ({}, {"prompt": "a", "turns": [{"blok": 3}]}):
        with pytest.raises(ConfigError):
            Schedule.from_json(damaged)


class OneCaption:
    """A text encoder that embeds a prompt by its length and a word of it by its place."""

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        return PromptTrack(embeds=torch.full((1, 2, 3), float(len(prompt))), rows=(0,) * num_blocks)

    def prepare(self, prompts: Sequence[str]) -> None:
        self.prepared = list(prompts)

    def follow(self, prompt: str, before: str, num_blocks: int) -> str:
        del before, num_blocks
        return prompt


def test_each_block_has_the_captions_of_its_prompt() -> None:
    schedule = Schedule("one", (Turn(block=2, prompt="three", asked_s=1.5, cut=True),))
    text = OneCaption()
    track = PromptTrack.of(schedule, text, 5)
    assert text.prepared == ["one", "three"]
    assert [track.embeds[row, 0, 0].item() for row in track.rows] == [3, 3, 5, 5, 5]
    assert track.scenes == Scenes(switches=frozenset([2]), cuts=frozenset([2]))


def test_one_prompt_is_the_track_that_it_always_was() -> None:
    text = "a winter village at night; pan right 3s, pan left 3s"
    alone, scheduled = ToyText().track(text, 9), PromptTrack.of(Schedule(text), ToyText(), 9)
    assert torch.equal(alone.embeds, scheduled.embeds)
    assert (alone.rows, scheduled.scenes) == (scheduled.rows, Scenes())


@pytest.mark.parametrize("at", [1, 4, 6, 7, 16, 40])
def test_in_the_toy_the_camera_goes_on_where_it_is(at: int) -> None:
    """A prompt without a script changes the scene; every block has the camera word that it would have had."""
    script = "pan right 3s, hold 1.5s, pan left 5.25s"
    schedule = Schedule(f"a village; {script}", (Turn(block=at, prompt="a castle at night", asked_s=at),))
    plain = toy.parse(f"a village; {script}").camera_words(60)
    stretches = schedule.stretches(60, toy.follow)
    words = [word for prompt, blocks in stretches for word in toy.parse(prompt).camera_words(blocks)]
    assert tuple(words) == plain
    track = PromptTrack.of(schedule, ToyText(), 60)
    castle = toy.parse("a castle at night").scene
    for block in range(60):
        scene = castle if block >= at else toy.parse("a village").scene
        assert torch.equal(track.embeds[track.rows[block]], toy.caption_embeds(scene, plain[block]))


def test_in_the_toy_a_script_of_its_own_begins_with_its_prompt() -> None:
    schedule = Schedule(
        "a village; pan right 60s", (Turn(block=4, prompt="a castle; pan left 3s, hold 3s", asked_s=3),)
    )
    stretches = schedule.stretches(12, toy.follow)
    words = [word for prompt, blocks in stretches for word in toy.parse(prompt).camera_words(blocks)]
    assert words == ["right"] * 4 + ["left"] * 4 + ["hold"] * 4


def test_a_third_prompt_goes_on_with_the_script_of_the_first() -> None:
    turns = tuple(
        Turn(block=at, prompt=f"a {what}", asked_s=at) for at, what in ((5, "castle"), (13, "forest"))
    )
    stretches = Schedule("a village; pan right 3s, pan left 4.5s", turns).stretches(40, toy.follow)
    words = [word for prompt, blocks in stretches for word in toy.parse(prompt).camera_words(blocks)]
    assert tuple(words) == toy.parse("a village; pan right 3s, pan left 4.5s").camera_words(40)


def options(*words: str):
    return parser().parse_args(["run", *words])


def test_the_command_line_takes_one_of_three(tmp_path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text("- a village\n- {at: 12s, prompt: a castle}\n")
    village, castle = Cue(prompt="a village"), Cue(prompt="a castle", at_s=12)
    assert told(options("--prompt", "a village")) == (village,)
    assert told(options("--prompt", "a village", "--prompt", "12s:a castle")) == (village, castle)
    assert told(options("--schedule", str(path))) == (village, castle)
    assert told(options("--scenes", "a village[12s] | a castle[1s]"))[1].after_s == 12


@pytest.mark.parametrize(
    "words",
    [
        ("--scenes", "a village"),
        ("--schedule", "/no/such/file"),
        ("--prompt", "a", "--scenes", "b[1s]"),
        ("--prompt", "12s:"),
        ("--prompt", "a", "--at-switch", "forget"),
        ("--prompt", "a", "--fade", "much"),
    ],
)
def test_a_mistyped_story_is_a_wrong_command_line(words, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        options(*words)
    assert "usage: reverie-generate run" in capsys.readouterr().err


def test_what_becomes_of_the_past_is_an_option() -> None:
    given = options(
        "--prompt", "a", "--at-switch", "keep", "--recache-sink", "--old-history", "fade", "--fade", "0.5"
    )
    assert switching(given) == Switching(at_switch="keep", recache_sink=True, old_history="fade", fade=0.5)
    assert switching(options("--prompt", "a")) == Switching()
