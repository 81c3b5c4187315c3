"""`run --resume` and `run --fork` on a memory: what is refused changes nothing, and nothing is dropped."""

from __future__ import annotations

import pytest
from tiny_weights import write_tiny_weights

from generator.__main__ import main
from generator.connect import EMBEDDED, connect
from memory_service.types import VideoKey

NIGHT = "--prompt", "a village at night"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run` with these words on a memory that has 6 frames of "village"; its exit code."""
    folder = tmp_path_factory.mktemp("continuing")
    weights = write_tiny_weights(folder / "weights")
    places = ["--threads", "1", "--weights", str(weights), "--out", str(folder / "out")]

    def run(*words: str) -> int:
        return main(["run", *words, *places])

    run.memory = f"{EMBEDDED}{folder / 'out' / 'memory'}"
    assert run("--prompt", "a village at noon", "--frames", "6", "--video", "village") == 0
    return run


@pytest.fixture
def videos(run):
    """Names of the videos that its memory has, now."""

    def names() -> set[str]:
        memory = connect(run.memory)
        try:
            return {info.key.video for info in memory.list_videos("default")}
        finally:
            memory.close()

    return names


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--prompt", "a storm comes"), "storm"),
        ((*NIGHT, "--frames", "0"), "frames must be a multiple of 3 beyond 3, got 0"),
        ((*NIGHT, "--frames", "30", "--kv-budget", "1"), "GB are allowed"),
        ((*NIGHT, "--numerics", "reference"), "--numerics is 'reference'; expected 'stock'"),
        ((*NIGHT, "--frames", "9", "--memory-patience", "0", "--on-memory-loss", "degrade"), "positive"),
    ],
)
def test_a_branch_that_is_refused_is_not_in_the_memory(run, videos, capsys, words, reason) -> None:
    before = videos()
    assert run("--fork", "village@3", "--video", "refused", *words) == 1
    assert reason in capsys.readouterr().err
    assert videos() == before


def test_a_name_that_a_refused_branch_had_is_free(run, videos) -> None:
    assert run("--fork", "village@3", "--video", "night", "--prompt", "a storm comes") == 1
    assert run("--fork", "village@3", "--video", "night", *NIGHT) == 0
    assert run("--fork", "village@3", "--video", "night", *NIGHT) == 0, "the same again goes on with it"
    assert "night" in videos()
    memory = connect(run.memory)
    assert memory.get_video(VideoKey("default", "night")).state.length == 6
    memory.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--numerics", "reference"), "--numerics is 'reference'; expected 'stock' for this video"),
        (("--backbone", "longlive"), "--backbone is 'longlive'; expected 'toy' for this video"),
        (("--compile",), "--compile is given, and this video was begun without it"),
        (("--height", "999"), "--height is given, and this video was begun without it"),
    ],
)
def test_a_model_that_the_video_was_not_made_with_is_refused(run, capsys, words, reason) -> None:
    assert run("--resume", "village", *words) == 1
    assert reason in capsys.readouterr().err


def test_the_model_that_it_was_made_with_is_taken(run) -> None:
    assert run("--resume", "village", "--numerics", "stock", "--backbone", "toy") == 0
