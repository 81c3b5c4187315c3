"""Options that would do nothing, or drop another: the command line refuses them before anything is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from generator.__main__ import main
from generator.options.combinations import check
from generator.options.groups import parser

STORY = "--prompt", "a village at noon"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((*STORY, "--replay", "exact"), "--replay needs --resume or --fork"),
        ((*STORY, "--fade", "0.9"), "--fade needs --old-history fade"),
        ((*STORY, "--fade", "0.5", "--old-history", "clear"), "--fade needs --old-history fade"),
        ((*STORY, "--memory-patience", "2"), "--memory-patience needs --on-memory-loss degrade"),
        ((*STORY, "--kv-layout", "alone"), "--kv-layout needs --kv bounded or latent"),
        ((*STORY, "--kv-layout", "alone", "--kv", "exact"), "--kv-layout needs --kv bounded or latent"),
        ((*STORY, "--recache-sink", "--at-switch", "keep"), "--recache-sink needs --at-switch recache"),
        ((*STORY, "--recache-sink", "--method", "deep_sink", "infinity_rope"), "--recache-sink needs"),
        (("--resume", "village", "--dry-run"), "--dry-run needs a video that is yet to begin"),
        (("--fork", "village@3", "--dry-run"), "--dry-run needs a video that is yet to begin"),
        (("--resume", "village", "--memory-patience", "1"), "--memory-patience needs"),
        (("--resume", "village", "--fade", "0.9"), "--fade is the video's own: --resume takes it"),
        (("--fork", "village@3", "--method", "native"), "--method is the video's own: --fork takes it"),
    ],
)
def test_an_option_that_would_do_nothing_is_a_wrong_command_line(words, reason, capsys, tmp_path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--out", str(tmp_path), *words])
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        (*STORY, "--fade", "0.5", "--old-history", "fade"),
        (*STORY, "--memory-patience", "1", "--on-memory-loss", "degrade"),
        (*STORY, "--kv-layout", "alone", "--kv", "latent"),
        (*STORY, "--recache-sink"),
        (*STORY, "--recache-sink", "--method", "deep_sink", "native"),
        (*STORY, "--recache-sink", "--method", "deep_sink", "--at-switch", "recache"),
        (*STORY, "--dry-run"),
        ("--resume", "village", "--replay", "window"),
        ("--fork", "village@3", "--replay", "exact", "--frames", "9"),
    ],
)
def test_an_option_that_does_something_is_taken(words) -> None:
    check(parser().parse_args(["run", *words]))


def test_the_command_line_is_refused_before_torch_is_loaded() -> None:
    program = (
        "import sys\nfrom generator.__main__ import main\n"
        "try:\n    main(['run', '--prompt', 'a', '--replay', 'exact'])\n"
        "except SystemExit as ended:\n    assert ended.code == 2\n    assert 'torch' not in sys.modules\n"
        "else:\n    raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
