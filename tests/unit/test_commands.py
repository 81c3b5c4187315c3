"""The command line against a real server: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from samples import ALL, KEY, SPEC, assert_frames, block, query
from serving import ServerProcess

from memory_service import errors
from memory_service.__main__ import main
from memory_service.cli.exit_codes import EXIT_CODES, MEANINGS
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.server import Server
from memory_service.types import PoolSpec, Query, VideoKey
from memory_service.wire.status import CODES

Printed = pytest.CaptureFixture[str]


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
    while server.load.open_calls:  # the client's stream, which is logged when the server has heard of its end
        time.sleep(0.001)
    yield server.address
    server.stop()


class Command:
    """`reverie-memory` with --memory; the answer of --json is parsed."""

    def __init__(self, address: str, printed: Printed) -> None:
        self._address = address
        self._printed = printed

    def __call__(self, *words: str, code: int = 0) -> Any:
        """The JSON that it prints, None where it fails."""
        text = self.text(*words, "--json", code=code)
        return json.loads(text) if code == 0 else None

    def text(self, *words: str, code: int = 0) -> str:
        """What it prints for people."""
        quiet = ("--log-level", "ERROR")  # the server logs to the same stream
        assert main([*quiet, *words, "--memory", self._address]) == code, self._printed.readouterr().err
        captured = self._printed.readouterr()
        if code:
            assert captured.out == ""
            assert captured.err.count("\n") == 1, "an error is one line"
        return captured.out


@pytest.fixture
def command(address: str, capsys: Printed) -> Command:
    return Command(address, capsys)


def test_info_and_health(command: Command) -> None:
    info = command("info")
    assert (info["index"], info["hot_videos"], info["num_videos"]) == ("flat", 1, 1)
    assert "index              flat" in command.text("info")
    assert command("health") == {"status": "serving"}


def test_videos(command: Command) -> None:
    (video,) = command("videos", "pool")
    assert (video["video"], video["length"], video["latent"]) == ("pool/video", 6, "bfloat16[3,2,2]")
    head, row = command.text("videos", "pool").splitlines()
    assert head.split()[:3] == ["video", "length", "durable"]
    assert row.split()[:2] == ["pool/video", "6"]
    assert command.text("videos", "nobody") == "none\n"


def test_show(command: Command) -> None:
    shown = command("show", "pool/video", "--last", "1")
    assert shown["metadata"] == SPEC.metadata
    (retrieval,) = shown["retrievals"]
    assert (retrieval["k"], retrieval["length"]) == (3, 6)
    text = command.text("show", "pool/video")
    assert "prompt='a harbour'" in text
    assert len(text.split("retrievals\n")[1].splitlines()) == 3


def test_what_cannot_be_undone_asks_for_yes(command: Command, capsys: Printed, address: str) -> None:
    for words in (
        ["drop", "pool/video"],
        ["pools", "drop", "pool"],
        ["truncate", "pool/video", "--length", "0"],
    ):
        with pytest.raises(SystemExit) as refused:
            main([*words, "--memory", address])
        assert refused.value.code == 2
        assert "--yes" in capsys.readouterr().err
    assert command("show", "pool/video")["length"] == 6
    assert command("drop", "pool/video", "--yes") == {"dropped": "pool/video"}
    command("drop", "pool/video", "--yes", code=3)


def test_a_life_of_a_video(command: Command, address: str) -> None:
    forked = command("fork", "pool/video", "other/fork", "--length", "3")
    assert (forked["length"], forked["parent"]) == (3, "pool/video@3")
    truncated = command("truncate", "pool/video", "--length", "4", "--yes")
    assert truncated["length"] == 4
    epoch = str(truncated["epoch"])
    command("truncate", "pool/video", "--length", "1", "--yes", "--epoch", "7", code=9)
    sealed = command("seal", "pool/video", "--epoch", epoch)
    assert sealed["sealed"] is True
    command("truncate", "pool/video", "--length", "1", "--yes", code=9)
    assert command("heartbeat", "pool/video", "other/fork") == {"alive": 2}
    command("heartbeat", "pool/video", "pool/nobody", code=3)
    with MemoryClient(address) as memory:
        assert_frames(memory, 0, 3, VideoKey("other", "fork"))


def test_pools(command: Command) -> None:
    made = command("pools", "create", "films", "--max-bytes", "1.5MiB", "--max-videos", "1", "--ttl", "2h")
    assert (made["max_bytes"], made["max_videos"], made["ttl_s"]) == (3 << 19, 1, 7200)
    assert command("pools", "create", "films", "--max-bytes", "1.5MiB", "--max-videos", "1", "--ttl", "2h")
    command("pools", "create", "films", code=9)
    changed = command("pools", "update", "films", "--ttl", "0")
    assert (changed["max_bytes"], changed["ttl_s"]) == (3 << 19, 0)
    command("pools", "update", "films", code=2)
    command("pools", "update", "nobody", "--ttl", "1", code=3)
    assert {pool["pool"]: pool["videos"] for pool in command("pools", "list")} == {"films": 0, "pool": 1}
    command("fork", "pool/video", "films/a")
    command("fork", "pool/video", "films/b", code=8)
    command("pools", "drop", "films", "--yes", code=9)
    assert command("pools", "drop", "films", "--yes", "--with-videos") == {"dropped": "films"}
    assert "films" not in command.text("pools", "list")


def test_export_and_import(command: Command, address: str, tmp_path: Path) -> None:
    file = tmp_path / "take.reel"
    exported = command("export", "pool/video", str(file))
    assert exported["bytes"] == file.stat().st_size
    command("export", "pool/video", str(file), code=9)
    assert command("import", "copies/take", str(file))["length"] == 6
    command("import", "copies/take", str(file), code=9)
    command("import", "copies/none", str(tmp_path / "none"), code=2)
    with MemoryClient(address) as memory:
        assert_frames(memory, 0, 6, VideoKey("copies", "take"))
    damaged = bytearray(file.read_bytes())
    damaged[-300] ^= 1
    file.write_bytes(damaged)
    command("import", "copies/damaged", str(file), code=6)
    command("show", "copies/damaged", code=3)
    command("export", "pool/nobody", str(tmp_path / "nobody.reel"), code=3)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["take.reel"]


def test_export_and_import_through_pipes(address: str) -> None:
    program = f"{sys.executable} -m memory_service"
    pipe = (
        f"{program} export pool/video - --memory {address} | "
        f"{program} import copies/piped - --memory {address} --json"
    )
    done = subprocess.run(["bash", "-o", "pipefail", "-c", pipe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["length"] == 6


def test_status(command: Command) -> None:
    once = command("status", "--once")
    assert once["num_videos"] == 1
    (pool,) = once["pools"]
    assert (pool["pool"], pool["videos"], pool["hot"]) == ("pool", 1, 1)
    text = command.text("status", "--once")
    assert "durability group" in text
    assert text.splitlines()[-1].split()[:3] == ["pool", "1", "1"]


def test_status_lives_until_it_is_interrupted(address: str) -> None:
    words = [sys.executable, "-m", "memory_service", "status", "--memory", address, "--json"]
    with subprocess.Popen([*words, "--interval", "50ms"], stdout=subprocess.PIPE, text=True) as live:
        assert live.stdout is not None
        rounds = [json.loads(live.stdout.readline())["uptime_s"] for _ in range(3)]
        live.send_signal(2)
        assert live.wait(10) == 130
    assert rounds == sorted(rounds)


def test_watch(command: Command, address: str) -> None:
    def happen() -> None:
        with MemoryClient(address) as memory:
            memory.append(KEY, block(6))
            memory.search(KEY, [query(k=2, like=1)])

    words = [sys.executable, "-m", "memory_service", "watch", "pool", "--memory", address, "--json"]
    with subprocess.Popen([*words, "--count", "3"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["event"] == "watching"
        threading.Thread(target=happen).start()
        appended, retrieved = map(json.loads, watching.stdout)
        assert watching.wait(10) == 0
    assert (appended["event"], appended["video"], appended["length"]) == ("appended", "pool/video", 9)
    assert (retrieved["event"], len(retrieved["frames"])) == ("retrieved", 2)
    assert command("show", "pool/video")["length"] == 9


def test_verify(tmp_path: Path, capsys: Printed) -> None:
    memory = MemoryEngine(tmp_path)
    memory.create_video(KEY, SPEC)
    memory.append(KEY, block(0), sync=True)
    memory.close()
    assert main(["verify", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clean"], report["videos"], report["frames"]) == (True, 1, 3)
    assert report["findings"] == []
    reel = tmp_path / "pool" / "video.reel"
    data = bytearray(reel.read_bytes())
    data[len(data) // 2] ^= 1
    reel.write_bytes(data)
    assert main(["verify", str(tmp_path), "--json"]) == 6
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    assert (finding["file"], finding["kind"]) == (str(reel), "damage")
    assert captured.err.count("\n") == 1
    assert main(["verify", str(tmp_path)]) == 6
    assert "damage" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "none")]) == 3


def test_tokens(tmp_path: Path, capsys: Printed) -> None:
    file = str(tmp_path / "tokens.json")
    assert main(["tokens", "create", "studio", "--file", file, "--allow", "films:read,write", "--json"]) == 0
    secret = json.loads(capsys.readouterr().out)["token"]
    assert secret not in Path(file).read_text()
    assert main(["tokens", "create", "boss", "--file", file, "--allow", "*:admin", "--json"]) == 0
    assert main(["tokens", "create", "boss", "--file", file, "--allow", "*:admin"]) == 9
    assert main(["tokens", "create", "odd", "--file", file, "--allow", "films"]) == 2
    capsys.readouterr()
    assert main(["tokens", "list", "--file", file, "--json"]) == 0
    assert [(row["id"], row["allow"]) for row in json.loads(capsys.readouterr().out)] == [
        ("studio", "films:read,write"),
        ("boss", "*:admin"),
    ]
    assert main(["tokens", "revoke", "studio", "--file", file]) == 0
    assert main(["tokens", "revoke", "studio", "--file", file]) == 3


def test_a_token_opens_its_pools(tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tokens.json"
    assert main(["tokens", "create", "studio", "--file", str(file), "--allow", "films:read", "--json"]) == 0
    secret = tmp_path / "secret"
    secret.write_text(json.loads(capsys.readouterr().out)["token"] + "\n")
    config = ServiceConfig(data_dir=tmp_path / "data", address=f"unix:{tmp_path}/s", tokens_file=file)
    server = Server(config)
    server.start()
    try:
        monkeypatch.setenv("REVERIE_MEMORY_ADDRESS", server.address)
        assert main(["videos", "films"]) == 7
        assert main(["health"]) == 7
        monkeypatch.setenv("REVERIE_MEMORY_TOKEN_FILE", str(secret))
        assert main(["videos", "films"]) == 0
        assert main(["health"]) == 0
        assert main(["videos", "others"]) == 7
        assert main(["drop", "films/take", "--yes"]) == 7
        monkeypatch.delenv("REVERIE_MEMORY_TOKEN_FILE")
        monkeypatch.setenv("REVERIE_MEMORY_TOKEN", secret.read_text().strip())
        assert main(["videos", "films"]) == 0
        assert main(["videos", "films", "--token-file", str(tmp_path / "none")]) == 2
    finally:
        server.stop()


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    authority = Authority(tmp_path, "authority")
    server_pair, own = authority.pair("server"), authority.pair("own")
    config = ServiceConfig(
        data_dir=tmp_path / "data",
        address="127.0.0.1:0",
        tls_cert=server_pair.cert,
        tls_key=server_pair.key,
        tls_client_ca=authority.cert,
    )
    server = Server(config)
    server.start()
    try:
        monkeypatch.setenv("REVERIE_MEMORY_ADDRESS", server.address)
        files = ["--tls-ca", str(authority.cert), "--tls-cert", str(own.cert), "--tls-key", str(own.key)]
        for command in ("health", "info", "status"):
            once = ["--once"] if command == "status" else []
            assert main([command, *once, *files, "--json"]) == 0
        capsys.readouterr()
        assert main(["health", "--timeout", "1"]) == 5
        assert main(["health", "--timeout", "1", "--tls-ca", str(authority.cert)]) == 5
        assert main(["info", *files[:4]]) == 2
        monkeypatch.setenv("REVERIE_MEMORY_CLIENT_CA", str(authority.cert))
        monkeypatch.setenv("REVERIE_MEMORY_CLIENT_CERT", str(own.cert))
        monkeypatch.setenv("REVERIE_MEMORY_CLIENT_KEY", str(own.key))
        assert main(["health"]) == 0
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "pool/nobody"], 3),
        (["show", "nobody"], 2),
        (["show", "pool/../x"], 2),
        (["videos", "../x"], 2),
        (["fork", "pool/video", "pool/x", "--length", "4"], 2),
    ],
)
def test_errors_are_one_line_and_a_code(command: Command, words: list[str], code: int) -> None:
    command.text(*words, code=code)


def test_no_server_is_code_5(tmp_path: Path, capsys: Printed) -> None:
    for name in ("info", "health"):
        assert main([name, "--memory", f"unix:{tmp_path}/none", "--timeout", "200ms"]) == 5
        assert capsys.readouterr().err.startswith("reverie-memory: ")


def test_a_reader_that_has_seen_enough_is_no_error(address: str) -> None:
    line = f"{sys.executable} -m memory_service status --memory {address} --json --interval 1ms | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_gives_defaults(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("REVERIE_MEMORY_ADDRESS", address)
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["index"] == "flat"


def test_serve_is_configured_by_options_and_environment(tmp_path: Path) -> None:
    environment = os.environ | {"REVERIE_MEMORY_INDEX": "faiss-flat", "REVERIE_MEMORY_DURABILITY": "none"}
    options = ("--durability", "sync", "--max-videos", "1", "--pool-ttl", "1h", "--max-index-bytes", "1MiB")
    with (
        ServerProcess(tmp_path / "data", "127.0.0.1:0", *options, env=environment) as server,
        MemoryClient(server.address) as memory,
    ):
        info = memory.info()
        assert (info.index, info.durability) == ("faiss-flat", "sync")
        assert (info.max_videos, info.max_index_bytes) == (1, 1 << 20)
        memory.create_video(KEY, SPEC)
        assert memory.get_pool(KEY.pool).spec == PoolSpec(ttl_ms=3_600_000)
        with pytest.raises(errors.Exhausted):
            memory.create_video(VideoKey("pool", "more"), SPEC)


def test_every_error_has_an_exit_code_and_every_code_a_meaning() -> None:
    assert set(EXIT_CODES) == set(CODES)
    assert set(EXIT_CODES.values()) <= set(MEANINGS)
    assert EXIT_CODES[errors.InvalidArgument] == 2  # as argparse's own
