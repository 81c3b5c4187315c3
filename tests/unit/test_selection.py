"""How the memory chooses among eligible frames is a rollout's own: from the command line to the search."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import combinations

import pytest
from tiny_rollouts import TinyRollouts

from generator.__main__ import main
from generator.errors import ConfigError
from generator.options import combinations as option_combinations
from generator.options.groups import parser, selection
from generator.rollout import rollout
from memory_service.engine import MemoryEngine
from memory_service.types import Policy

BLOCKS, GAP = 16, 4


@pytest.fixture
def tiny(tmp_path):
    with closing(MemoryEngine(tmp_path)) as memory:
        yield TinyRollouts(memory)


def retrieved(tiny: TinyRollouts, video: str, policy: Policy) -> list[list[int]]:
    """Frames that each block attended, best first."""
    config = replace(tiny.config("longlive_rag"), selection=policy)
    with tiny.history(video) as history:
        blocks = rollout(tiny.model(), config, tiny.track(BLOCKS), tiny.noise(BLOCKS), tiny.encoder, history)
        return [[hit.handle.frame for hit in block.hits] for block in blocks]


def test_retrieved_frames_keep_their_distance(tiny) -> None:
    near = retrieved(tiny, "near", Policy())
    apart = retrieved(tiny, "apart", Policy(min_gap_frames=GAP))
    assert any(abs(a - b) < GAP for frames in near for a, b in combinations(frames, 2))
    assert all(abs(a - b) >= GAP for frames in apart for a, b in combinations(frames, 2))
    assert max(map(len, apart)) > 2


def test_the_least_alike_are_not_the_most_similar(tiny) -> None:
    similar = retrieved(tiny, "similar", Policy(mmr_lambda=1.0))
    unlike = retrieved(tiny, "unlike", Policy(mmr_lambda=0.1))
    assert similar == retrieved(tiny, "plain", Policy())
    assert similar != unlike


def test_options_say_how_frames_are_chosen() -> None:
    words = ["run", "--prompt", "a village", "--min-gap", "4", "--mmr", "0.7"]
    assert selection(parser().parse_args(words)) == Policy(min_gap_frames=4, mmr_lambda=0.7)
    assert selection(parser().parse_args(words[:3])) == Policy()


@pytest.mark.parametrize("words", [["--min-gap", "4"], ["--mmr", "0.7"]])
def test_where_nothing_is_searched_they_are_refused(words) -> None:
    options = parser().parse_args(["run", "--prompt", "a village", "--method", "random_memory", *words])
    with pytest.raises(ConfigError, match="need a method that searches, got random_memory"):
        option_combinations.check(options)


def test_a_batch_without_a_method_that_searches_refuses_them_too(tmp_path, capsys) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a village at noon\n")
    words = ["batch", str(prompts), "--methods", "native,relative", "--mmr", "0.5", "--dry-run"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "need a method that searches, got native, relative" in capsys.readouterr().err
