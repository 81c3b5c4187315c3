"""Lists of prompts that a corpus is rolled out from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generator.batch.prompts import NamedPrompt
from generator.corpus.prompts import HOLD_S, PAN_S, SCRIPT_S, drawn, read, shared
from generator.errors import ConfigError
from generator.records.revisit import returns
from generator.toy.prompts import LATENT_FPS, encode, parse

BLOCKS = 80
"""Of a minute."""


def test_drawn_prompts_are_a_function_of_the_seed() -> None:
    assert drawn(8, 0) == drawn(64, 0)[:8] == read("toy:8") == read("toy:8:0")
    assert not {prompt.text for prompt in drawn(64, 0)} & {prompt.text for prompt in read("toy:64:1")}
    assert len({prompt.name for prompt in drawn(200, 0)}) == 200
    assert drawn(1, 0)[0] == NamedPrompt(
        "an-autumn-village-at-night-with-23e48c",
        "an autumn village at night with hills; pan left 5s, pan left 4s, pan right 14s, pan right 13s, "
        "hold 3s, pan left 18s, pan right 5s",
    )


def test_drawn_prompts_are_in_the_language_of_the_toy_and_come_back_to_places() -> None:
    scenes, num_returning = set(), 0
    for prompt in drawn(100, 3):
        script = parse(prompt.text)
        scenes.add(script.scene)
        assert len(encode(prompt.text, BLOCKS).rows) == BLOCKS
        assert sum(seconds for _, seconds in script.moves) >= SCRIPT_S
        for word, seconds in script.moves:
            shortest, longest = HOLD_S if word == "hold" else PAN_S
            assert shortest <= seconds <= longest
        num_returning += len(returns(script.camera_cells(BLOCKS).tolist())) > 5 * LATENT_FPS
    assert len(scenes) > 80
    assert num_returning > 90
    assert {word for prompt in drawn(20, 3) for word, _ in parse(prompt.text).moves} == {
        "left",
        "right",
        "hold",
    }


def test_lists_in_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# a list\na harbour\n\na forest\n")
    assert [prompt.text for prompt in read(str(tmp_path / "list.txt"))] == ["a harbour", "a forest"]


@pytest.mark.parametrize("text", ["toy:", "toy:0", "toy:-1", "toy:x", "toy:4:", "toy:4:-1", "toy:99999"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{text!r}; expected toy:COUNT")):
        read(text)


def test_a_share_is_chosen_by_seed_whatever_else_is_listed() -> None:
    listed = [NamedPrompt(f"p{number}", f"prompt {number}") for number in range(1000)]
    tenth = shared(listed, 0.1, 0)
    assert len(tenth) == 100
    assert tenth == sorted(tenth, key=listed.index), "in the order of the list"
    assert tenth == shared(listed, 0.1, 0)
    assert len(set(tenth) & set(shared(listed, 0.1, 1))) < 30, "about a tenth by chance"
    assert set(shared(listed[:500], 0.1, 0)) <= set(shared(listed[:500], 0.2, 0))
    assert set(shared(listed[500:] + listed[:500], 0.1, 0)) == set(tenth)
    assert shared(listed[:3], 0.1, 0) == shared(listed[:3], 0.01, 0) != []
    assert shared(listed, 1.0, 5) == listed


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_what_is_no_share(share: float) -> None:
    with pytest.raises(ConfigError, match=r"share must be in \(0, 1\]"):
        shared(drawn(3, 0), share, 0)
