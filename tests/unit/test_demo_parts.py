import json

import pytest

from generator.__main__ import main
from generator.commands.run import slug
from generator.demo import MANIFEST, DemoConfig, clean, closing_words, generator_commands
from generator.options.groups import parser
from generator.options.story import told
from generator.story.cues import Cue


def test_a_second_demo_removes_what_the_first_made_and_nothing_else(tmp_path):
    config = DemoConfig(out=tmp_path)
    clean(config)
    for name in config.planned():
        (tmp_path / name).write_text("old")
    (tmp_path / "memory").unlink()
    (tmp_path / "memory" / "demo").mkdir(parents=True)
    (tmp_path / "mine.mp4").write_text("mine")
    clean(config)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.mp4", MANIFEST}


def test_an_interrupted_demo_is_cleaned_up_by_the_next(tmp_path):
    config = DemoConfig(out=tmp_path)
    clean(config)
    (tmp_path / "village.mp4").write_text("half")
    clean(DemoConfig(out=tmp_path, prompts={"castle": "a castle"}))
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST}


def test_files_that_no_demo_made_stop_it(tmp_path):
    (tmp_path / "memory").mkdir()
    with pytest.raises(FileExistsError, match="memory"):
        clean(DemoConfig(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]


def test_a_manifest_cannot_reach_outside(tmp_path):
    (tmp_path / "kept").write_text("kept")
    out = tmp_path / "demo"
    out.mkdir()
    (out / MANIFEST).write_text(json.dumps(["../kept", "/etc/hostname"]))
    clean(DemoConfig(out=out))
    assert (tmp_path / "kept").read_text() == "kept"


def test_names_are_planned_once():
    names = DemoConfig().planned()
    assert len(names) == len(set(names))
    assert {"village.mp4", "village-native.json", "forest.side_by_side.mp4", "village.map.png"} <= set(names)


def test_generators_share_pool_service_seed_and_length(tmp_path):
    config = DemoConfig(out=tmp_path, num_frames=30, seed=7)
    commands = generator_commands(config, "127.0.0.1:1")
    options = {video: parser().parse_args(command[3:]) for video, command in commands.items()}
    assert set(options) == {"village", "forest"}
    for video, given in options.items():
        assert (given.video, told(given)) == (video, (Cue(prompt=config.prompts[video]),))
        assert (given.pool, given.memory, given.seed, given.frames) == ("demo", "127.0.0.1:1", 7, 30)
        assert (given.method, given.threads, given.progress) == (list(config.methods), 1, "json")


def test_the_closing_words_name_the_inspection_command(tmp_path):
    words = closing_words(DemoConfig(out=tmp_path), "60 s").splitlines()
    assert str(tmp_path / "report.md") == words[0]
    assert words[-2].endswith(f"reverie-inspect --data {tmp_path / 'memory'} show demo/village")
    assert words[-1] == "60 s"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A snowy village, at dusk; pan right 20s", "a-snowy-village-at-dusk"),
        ("one two three four five six seven", "one-two-three-four-five-six"),
        ("...", "video"),
    ],
)
def test_a_video_is_named_after_its_prompt(prompt, name):
    assert slug(prompt) == name


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["explode"],
        ["run"],
        ["run", "--prompt", "p", "--method", "mine"],
        ["run", "--prompt", "p", "--frames", "x"],
    ],
)
def test_a_wrong_command_line_exits_with_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: reverie-generate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--weights", "nowhere"], "nowhere"),
        (["--backbone", "wan"], "--weights"),
        (["--backbone", "wan", "--weights", "nowhere"], "--encoder"),
    ],
)
def test_what_cannot_be_run_exits_with_1_and_a_reason(words, reason, capsys, tmp_path):
    assert main(["run", "--prompt", "a village", "--out", str(tmp_path), *words]) == 1
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
