"""One line per request; a defect of the server tells its client nothing."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, block

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import Internal, InvalidArgument, NotFound
from memory_service.server import Server
from memory_service.types import Handle, Query, VideoKey

LINE = re.compile(
    r"method=(\w+) status=(\w+) ms=[\d.]+ bytes_in=(\d+) bytes_out=(\d+) peer=ipv4:127\.0\.0\.1:\d+ token=-"
    r" pool=(\S+) video=(\S+) left_ms=(?:-|\d+)(?: field='(.*)')?"
)


@pytest.fixture
def memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[MemoryClient]:
    server = Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0"))
    server.start()
    with MemoryClient(server.address, retain_bytes=0, local=False) as client:
        client.create_video(KEY, SPEC)
        caplog.set_level(logging.INFO, "memory_service.requests")
        yield client
    server.stop()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, ...]]:
    texts = [record.getMessage() for record in caplog.records if record.name == "memory_service.requests"]
    found = [LINE.fullmatch(text) for text in texts]
    assert all(found), texts
    return [match.groups("") for match in found if match]


def test_one_line_per_request(memory: MemoryClient, caplog: pytest.LogCaptureFixture) -> None:
    epoch = memory.append(KEY, block(0)).state.epoch
    memory.fetch([Handle(KEY, epoch, frame) for frame in range(3)])
    with pytest.raises(NotFound):
        memory.get_video(VideoKey("pool", "nobody"))
    with pytest.raises(InvalidArgument):
        memory.advance(KEY, block(3), Query(0, ALL))
    logged = lines(caplog)  # an advance that is refused ends the stream on which it came
    methods = [(method, status, field) for method, status, _, _, _, _, field in logged]
    assert methods == [
        ("Append", "OK", ""),
        ("Fetch", "OK", ""),
        ("GetVideo", "NOT_FOUND", "key"),
        ("Advance", "INVALID_ARGUMENT", "query.k"),
        ("AdvanceStream", "INVALID_ARGUMENT", "query.k"),
    ]
    assert int(logged[0][2]) > 3 * SPEC.latent_bytes
    assert int(logged[1][3]) > 3 * SPEC.latent_bytes
    assert logged[2][3:6] == ("0", "pool", "nobody")


def test_ids_cannot_forge_lines(memory: MemoryClient, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidArgument):
        memory.get_video(VideoKey("pool\nmethod=Append status=OK", "x"))
    assert [(*line[:2], line[4]) for line in lines(caplog)] == [("GetVideo", "INVALID_ARGUMENT", "?")]


@pytest.mark.parametrize("verb", ["info", "fetch"])
def test_a_defect_is_logged_here_and_told_nowhere(
    memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(MemoryEngine, {"fetch": "fetch_stored"}.get(verb, verb), broken)
    with pytest.raises(Internal) as caught:
        memory.info() if verb == "info" else memory.fetch([Handle(KEY, 1, 0)])
    assert "secret" not in str(caught.value)
    assert "secret of the house" in caplog.text
    assert lines(caplog)[-1][1] == "INTERNAL"
