"""The command line: what it prints, and how it exits."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, block, query

from memory_service.__main__ import EXIT_CODES, main
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import InvalidArgument
from memory_service.server import Server
from memory_service.types import Query


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server with one video of 6 frames and two retrievals."""
    server = Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0"))
    server.start()
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        memory.search(KEY, [query(k=2, like=1)])
        memory.advance(KEY, block(3), Query(3, ALL))
    yield server.address
    server.stop()


def test_info(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--memory", address, "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["index"], info["hot_videos"]) == ("flat", 1)
    assert main(["info", "--memory", address]) == 0
    assert "index              flat" in capsys.readouterr().out


def test_videos(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["videos", "pool", "--memory", address, "--json"]) == 0
    (video,) = json.loads(capsys.readouterr().out)
    assert (video["video"], video["length"], video["latent"]) == ("pool/video", 6, "bfloat16[3,2,2]")
    assert main(["videos", "pool", "--memory", address]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["video", "length", "durable"]
    assert row.split()[:2] == ["pool/video", "6"]
    assert main(["videos", "nobody", "--memory", address]) == 0
    assert capsys.readouterr().out == "none\n"


def test_show(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "pool/video", "--memory", address, "--json", "--last", "1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metadata"] == SPEC.metadata
    (retrieval,) = shown["retrievals"]
    assert (retrieval["k"], retrieval["length"]) == (3, 6)
    assert main(["show", "pool/video", "--memory", address]) == 0
    text = capsys.readouterr().out
    assert "prompt='a harbour'" in text
    assert len(text.split("retrievals\n")[1].splitlines()) == 3


def test_drop(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["drop", "pool/video", "--memory", address])
    assert refused.value.code == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["drop", "pool/video", "--memory", address, "--yes"]) == 0
    assert "pool/video" in capsys.readouterr().out
    assert main(["drop", "pool/video", "--memory", address, "--yes"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "pool/nobody"], 3),
        (["show", "nobody"], 2),
        (["show", "pool/../x"], 2),
        (["videos", "../x"], 2),
    ],
)
def test_errors_are_one_line_and_a_code(
    address: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main([*arguments, "--memory", address]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_no_server_is_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--memory", f"unix:{tmp_path}/none", "--timeout", "0.2"]) == 5
    assert str(tmp_path) in capsys.readouterr().err


def test_the_environment_gives_defaults(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REVERIE_MEMORY_ADDRESS", address)
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["index"] == "flat"


def test_what_cannot_be_right_is_wrong_usage() -> None:
    assert EXIT_CODES[InvalidArgument] == 2  # as argparse's own
