"""The generated code that is committed is what the proto gives."""

from pathlib import Path

import pytest

protoc = pytest.importorskip("grpc_tools.protoc")

ROOT = Path(__file__).resolve().parents[2]
PROTO = "memory_service/v1/memory.proto"
GENERATED = ("memory_pb2.py", "memory_pb2.pyi", "memory_pb2_grpc.py")


def test_generated_code_is_current(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert protoc.main(["protoc", f"-I{ROOT / 'protos'}", *outputs, str(ROOT / "protos" / PROTO)]) == 0
    for name in GENERATED:
        fresh, committed = (folder / "memory_service/v1" / name for folder in (tmp_path, ROOT))
        assert committed.read_bytes() == fresh.read_bytes(), f"{name} is stale: run `make protos`"


def test_nothing_else_lies_beside_it() -> None:
    there = {path.name for path in (ROOT / "memory_service/v1").iterdir() if path.is_file()}
    assert there == {"__init__.py", *GENERATED}
