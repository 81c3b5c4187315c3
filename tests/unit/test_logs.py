"""One line per event, keys not sentences."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import KEY, SPEC
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.telemetry.logs import JsonFormatter, configure


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def formatted(template: str, *args: object, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("memory_service.store", logging.WARNING, "", 0, template, args, None)
    for name, value in extra.items():
        setattr(record, name, value)
    parsed: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return parsed


def test_keys_keep_their_types() -> None:
    line = formatted("commit failed path=%s reels=%d ms=%.1f", Path("/data/a b.reel"), 3, 1.25)
    assert (line["event"], line["path"], line["reels"], line["ms"]) == (
        "commit failed",
        "/data/a b.reel",
        3,
        1.25,
    )
    assert (line["level"], line["logger"]) == ("WARNING", "memory_service.store")
    assert line["time"].endswith("+00:00")


def test_values_with_spaces_and_newlines_stay_one_line() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "lost reason=%s", ("a\nb c=d",), None)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text)["reason"] == "a\nb c=d"


def test_words_without_keys_are_the_event() -> None:
    assert formatted("stopped")["event"] == "stopped"
    assert formatted("torn tail cut %s", "x.reel")["event"] == "torn tail cut x.reel"
    line = formatted("method=%s status=%s%s", "Append", "OK", " field='key'")
    assert (line["event"], line["method"], line["detail"]) == ("store", "Append", "field='key'")


def test_a_template_that_does_not_fit_is_not_guessed_at() -> None:
    assert formatted("100% of key=value")["event"] == "100% of key=value"


def test_tracebacks_are_one_key() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        line = formatted("unexpected error", exc_info=sys.exc_info())
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: odd")


@pytest.mark.parametrize("form", ["text", "json"])
def test_level_and_form(root: logging.Logger, capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure("WARNING", form)
    logging.getLogger("memory_service.x").info("quiet")
    logging.getLogger("memory_service.x").warning("loud path=%s", "p")
    (line,) = capsys.readouterr().err.splitlines()
    if form == "json":
        assert (json.loads(line)["event"], json.loads(line)["path"]) == ("loud", "p")
    else:
        assert line.endswith("WARNING memory_service.x loud path=p")
    assert root.level == logging.WARNING


def test_a_server_logs_each_call_as_json(tmp_path: Path) -> None:
    options = ("--log-level", "INFO", "--log-format", "json")
    with ServerProcess(tmp_path / "data", "127.0.0.1:0", *options) as server:
        with MemoryClient(server.address) as memory:
            memory.create_video(KEY, SPEC)
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (call,) = (line for line in lines if line.get("method") == "CreateVideo")
    assert call["status"] == "OK"
    assert call["ms"] > 0
    assert call["bytes_in"] > 0
