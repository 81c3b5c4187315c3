"""A server with one video, and a way to send it any bytes."""

import itertools
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from injection import Injector
from raw_requests import KEY, LENGTH, METHODS, SERVICE, Send
from samples import SPEC, block
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.remote import connection
from memory_service.wire.status import from_rpc_error


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients give up at the first UNAVAILABLE, so that what is interrupted stays interrupted."""
    monkeypatch.setattr(connection, "pauses", lambda: repeat(math.inf))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    with ServerProcess(data_dir, "127.0.0.1:0", "--max-message-bytes", str(1 << 20)) as running:
        with MemoryClient(running.address) as memory:
            memory.create_video(KEY, SPEC)
            for start in range(0, LENGTH, 3):
                memory.append(KEY, block(start), sync=True)
        yield running


@pytest.fixture(scope="module")
def channel(target: ServerProcess) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20)]
    with grpc.insecure_channel(target.address, options=options) as opened:
        yield opened


@pytest.fixture(scope="module")
def send(channel: grpc.Channel) -> Send:
    def sent(method: str, *messages: bytes) -> Sequence[bytes]:
        path = f"/{SERVICE.full_name}/{method}"
        streams = METHODS[method].client_streaming, METHODS[method].server_streaming
        try:
            match streams:
                case False, False:
                    return [channel.unary_unary(path)(*messages, timeout=20)]
                case True, False:
                    return [channel.stream_unary(path)(iter(messages), timeout=20)]
                case False, True:
                    answers = channel.unary_stream(path)(*messages, timeout=20)
                case _:
                    answers = channel.stream_stream(path)(iter(messages), timeout=20)
            # Watch ends when its caller does; everything that it refuses, it refuses at once.
            taken = list(itertools.islice(answers, 1)) if method == "Watch" else list(answers)
            answers.cancel()
            return taken
        except grpc.RpcError as exc:
            raise from_rpc_error(exc) from exc

    return sent


@pytest.fixture
def lives(target: ServerProcess, channel: grpc.Channel) -> Iterator[None]:
    """After each test the server serves, its history is untouched, and it has logged no defect."""
    yield
    check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert check.status == health_pb2.HealthCheckResponse.SERVING
    with MemoryClient(target.address) as memory:
        assert memory.get_video(KEY).state.length == LENGTH
        assert memory.get_video(KEY).spec == SPEC
    assert "Traceback" not in target.log.read_text()


@pytest.fixture(scope="session")
def injector_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """inject.c, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("faults are injected by a library that needs Linux and a C compiler to be built")
    library = tmp_path_factory.mktemp("inject") / "inject.so"
    source = Path(__file__).with_name("inject.c")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(source), "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture
def injector(injector_library: Path, tmp_path: Path) -> Injector:
    """Faults for processes started with `injector.environment`."""
    return Injector(injector_library, tmp_path)
