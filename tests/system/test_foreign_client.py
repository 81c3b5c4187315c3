"""A client in another language, made at run time from protos/ alone: it takes a video through its life."""

import shutil
import subprocess
from pathlib import Path

import pytest
from serving import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("foreign_client.js")
PACKAGES = ("@grpc/grpc-js", "@grpc/proto-loader")


@pytest.fixture
def node() -> str:
    """Node with gRPC. `npm install @grpc/grpc-js @grpc/proto-loader`, and NODE_PATH to their node_modules."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    resolve = "; ".join(f"require.resolve('{name}')" for name in PACKAGES)
    if subprocess.run([found, "-e", resolve], capture_output=True).returncode:
        pytest.skip(f"node does not find {' and '.join(PACKAGES)}; set NODE_PATH")
    return found


def test_a_client_from_the_proto_alone(node: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "127.0.0.1:0") as server:
        done = subprocess.run(
            [node, str(SCRIPT), server.address, str(ROOT / "protos")],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
