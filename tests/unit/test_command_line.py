"""The command line without a server: help, options made from the configuration, sizes and times."""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory_service.__main__ import main
from memory_service.cli.config_options import config_options, field_docstrings
from memory_service.cli.exit_codes import MEANINGS
from memory_service.cli.quantities import human_bytes, num_bytes, seconds
from memory_service.cli.tree import parser
from memory_service.config import ServiceConfig


def leaves(
    top: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command with its words."""
    below = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path, top
    for action in below:
        for name, command in action.choices.items():
            yield from leaves(command, (*path, name))


COMMANDS = dict(leaves(parser({})))
PLAIN = {("serve",), ("completion",), ("complete",)}
"""Commands whose answer is not for programs."""


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 18
    assert set(COMMANDS) >= PLAIN


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    example = text.split("example:\n")[1].split("\n\nexit codes:")[0].strip()
    assert f"reverie-memory {' '.join(words)}" in example
    assert all(f"  {code}" in text.split("exit codes:\n")[1] for code in MEANINGS)
    command = COMMANDS[words]
    assert ("--json" in command._option_string_actions) == (words not in PLAIN)
    undocumented = [
        action.dest
        for action in command._actions
        if not action.help and not action.metavar and not action.choices
    ]
    assert not undocumented


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in PLAIN], ids=" ".join)
def test_every_example_is_right(words: tuple[str, ...]) -> None:
    epilog = COMMANDS[words].epilog
    assert epilog is not None
    example = epilog.split("example:\n")[1].splitlines()[0].split()
    assert parser({}).parse_args(example[1:]).run is not None


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["nonsense"], ["pools"], ["serve"], ["serve", "--data", "x", "--max-bytes", "much"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_every_field_is_an_option_with_a_variable() -> None:
    options = {option.field: option for option in config_options()}
    assert list(options) == [field.name for field in dataclasses.fields(ServiceConfig)]
    assert len({option.flag for option in options.values()}) == len(options)
    assert len({option.variable for option in options.values()}) == len(options)
    flags = COMMANDS[("serve",)]._option_string_actions
    assert {option.flag for option in options.values()} <= set(flags)
    assert set(field_docstrings(ServiceConfig)) == set(options)


def configured(*words: str, environment: dict[str, str] | None = None) -> ServiceConfig:
    options = parser(environment or {}).parse_args(["serve", *words])
    return ServiceConfig(**{option.field: getattr(options, option.field) for option in config_options()})


def test_defaults_are_those_of_the_configuration() -> None:
    assert configured("--data", "x") == ServiceConfig(data_dir=Path("x"))


def test_an_empty_variable_is_none() -> None:
    environment = {option.variable: "" for option in config_options()}
    assert configured("--data", "x", environment=environment) == ServiceConfig(data_dir=Path("x"))
    names = ("ADDRESS", "TOKEN", "TOKEN_FILE", "CLIENT_CA", "CLIENT_CERT", "CLIENT_KEY")
    empty = {f"REVERIE_MEMORY_{name}": "" for name in names}
    assert vars(parser(empty).parse_args(["info"])) == vars(parser({}).parse_args(["info"])) | {"token": ""}


def test_options_win_over_the_environment() -> None:
    environment = {
        "REVERIE_MEMORY_DATA": "there",
        "REVERIE_MEMORY_MAX_BYTES": "10GiB",
        "REVERIE_MEMORY_DRAIN": "1m",
        "REVERIE_MEMORY_NUM_THREADS": "4",
        "REVERIE_MEMORY_INSECURE_ANY_ADDRESS": "true",
        "REVERIE_MEMORY_TOKENS_FILE": "tokens",
    }
    config = configured("--num-threads", "7", "--address", "0.0.0.0:1", environment=environment)
    assert (config.data_dir, config.max_bytes, config.drain_s) == (Path("there"), 10 << 30, 60.0)
    assert (config.num_threads, config.insecure_any_address) == (7, True)
    assert config.tokens_file == Path("tokens")
    assert not configured("--no-insecure-any-address", environment=environment).insecure_any_address


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DURABILITY", "maybe"),
        ("INSECURE_ANY_ADDRESS", "perhaps"),
        ("NUM_THREADS", "many"),
        ("MAX_BYTES", "1x"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_variable_that_cannot_be_right_is_2(tmp_path: Path, variable: str, value: str) -> None:
    environment = {"PATH": "/usr/bin", f"REVERIE_MEMORY_{variable}": value}
    words = [sys.executable, "-m", "memory_service", "serve", "--data", str(tmp_path / "data")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert value in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("17", 17), ("1kB", 1000), ("1.5MiB", 3 << 19), ("2 GiB", 2 << 30), ("3TB", 3 * 10**12)],
)
def test_sizes(text: str, expected: int) -> None:
    assert num_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("2", 2.0), ("90s", 90.0), ("250ms", 0.25), ("1.5h", 5400.0), ("2d", 172_800.0)]
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1GiBs", "1 2", "nan", "1e9", "0x10"])
def test_what_is_no_quantity(text: str) -> None:
    for parse in (num_bytes, seconds):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


def test_sizes_to_read() -> None:
    assert [human_bytes(size) for size in (0, 1023, 1024, 3 << 19, 5 << 30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 GiB",
    ]
