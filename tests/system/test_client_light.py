"""A client brings neither torch nor faiss, nor the engine, and is quick to import."""

import subprocess
import sys

HEAVY = (
    "torch",
    "faiss",
    "diffusers",
    "transformers",
    "matplotlib",
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "threadpoolctl",
)
SERVER_SIDE = (
    "memory_service.engine",
    "memory_service.server",
    "memory_service.index",
    "memory_service.store",
)


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_client_is_light() -> None:
    loaded = modules_after(
        "from memory_service.client import MemoryClient; MemoryClient('127.0.0.1:1').close()"
    )
    assert "memory_service.client" in loaded
    assert not loaded & {*HEAVY, *SERVER_SIDE}


def test_so_is_the_command_line() -> None:
    loaded = modules_after("import memory_service.__main__")
    assert not loaded & {*HEAVY, *SERVER_SIDE}


def test_the_server_with_its_own_index_needs_no_faiss() -> None:
    code = (
        "import tempfile\n"
        "from pathlib import Path\n"
        "from memory_service.server import Server, ServiceConfig\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    server = Server(ServiceConfig(data_dir=Path(folder), address='127.0.0.1:0'))\n"
        "    server.start()\n"
        "    server.stop()\n"
    )
    assert not modules_after(code) & {"torch", "faiss", "matplotlib"}
