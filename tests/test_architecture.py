"""Who may import whom, as a table; every file of the project is walked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVICE = ROOT / "memory_service"

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "memory_service/**/*.py": ("torch", "encoder", "generator", "inspector", "tests"),
    "memory_service/types.py": ("msgpack", "memory_service"),
    "memory_service/errors.py": ("numpy", "memory_service"),
    "memory_service/client.py": (
        "faiss",
        "memory_service.engine",
        "memory_service.index",
        "memory_service.store",
    ),
    "memory_service/remote/*.py": (
        "faiss",
        "memory_service.engine",
        "memory_service.index",
        "memory_service.store",
        "memory_service.rpcs",
    ),
    "memory_service/rpcs/*.py": ("memory_service.remote",),
    "memory_service/serving/*.py": ("memory_service.remote",),
    "memory_service/local/staging.py": ("memory_service.local.sessions",),
    "encoder/**/*.py": ("memory_service", "generator", "inspector", "tests"),
    "generator/**/*.py": ("grpc", "faiss", "inspector", "tests"),
    "inspector/**/*.py": ("torch", "generator", "encoder", "tests"),
    "benchmarks/**/*.py": ("tests",),
}
"""Glob of files -> roots of modules that they must not import."""

WIRE = ("grpc", "grpc_status", "google", "memory_service.v1", "memory_service.wire")
WIRE_SIDE = frozenset(
    [
        "cli/health.py",
        "client.py",
        "interceptors.py",
        "remote",
        "rpcs",
        "security/tls.py",
        "server.py",
        "servicer.py",
        "serving/binding.py",
        "serving/call.py",
        "serving/gate.py",
        "serving/health.py",
        "serving/paging.py",
        "telemetry/telemetry.py",
        "telemetry/tracing.py",
        "v1",
        "wire",
    ]
)
"""Files and folders of the service that may know gRPC and proto; the engine and all below it may not."""

MEMORY_FOR_GENERATOR = {
    "memory_service",
    "memory_service.types",
    "memory_service.errors",
    "memory_service.memory",
}
"""What of the service the generator may see; one file more builds the client."""

GENERATOR_ROOTS = {"generator/connect.py"}
"""The one place of the generator that builds a client or an engine."""

FAISS_FILE = "memory_service/index/faiss_index.py"

ENTRY_POINTS = {"__main__.py", "config.py", "conftest.py"}
"""Files that may read the environment."""


def imported(path: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(module: str, root: str) -> bool:
    return module == root or module.startswith(root + ".")


def sources() -> list[Path]:
    folders = ("memory_service", "encoder", "generator", "inspector", "benchmarks")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("glob", FORBIDDEN)
def test_imports_stay_inside_the_rules(glob: str) -> None:
    paths = [path for path in ROOT.glob(glob) if path.parent.name != "v1"]
    assert paths, f"no file matches {glob}: the rule is stale"
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in paths
        for module in imported(path)
        for root in FORBIDDEN[glob]
        if under(module, root)
    ]
    assert not broken


def test_engine_and_all_below_it_know_neither_grpc_nor_proto() -> None:
    exempt = {SERVICE / name for name in WIRE_SIDE}
    below = [path for path in SERVICE.rglob("*.py") if exempt.isdisjoint([path, *path.parents])]
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in below
        for module in imported(path)
        for root in WIRE
        if under(module, root)
    ]
    assert len(below) > 15
    assert not broken


@pytest.mark.parametrize("name", sorted(WIRE_SIDE))
def test_what_may_know_grpc_and_proto_does(name: str) -> None:
    place = SERVICE / name
    paths = list(place.glob("*.py")) if place.is_dir() else [place]
    assert any(under(module, root) for path in paths for module in imported(path) for root in WIRE), (
        f"nothing in {name} imports it: the rule is stale"
    )


def test_generator_sees_only_the_types_of_the_memory() -> None:
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / "generator").rglob("*.py")
        if str(path.relative_to(ROOT)) not in GENERATOR_ROOTS
        for module in imported(path)
        if under(module, "memory_service")
        and not any(under(module, m) for m in MEMORY_FOR_GENERATOR - {"memory_service"})
        and module not in MEMORY_FOR_GENERATOR
    ]
    assert not broken


def test_faiss_is_imported_in_one_file() -> None:
    users = {str(p.relative_to(ROOT)) for p in sources() if any(under(m, "faiss") for m in imported(p))}
    assert users - {path for path in users if path.startswith("benchmarks/")} == {FAISS_FILE}


def test_telemetry_libraries_are_imported_in_one_folder() -> None:
    roots = ("prometheus_client", "opentelemetry")
    users = {p for p in sources() for m in imported(p) if any(under(m, root) for root in roots)}
    assert {p.parent for p in users} == {ROOT / "memory_service" / "telemetry"}


def test_environment_is_read_at_entry_points_only() -> None:
    def reads_environment(path: Path) -> bool:
        return any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )

    broken = [
        str(p.relative_to(ROOT)) for p in sources() if p.name not in ENTRY_POINTS and reads_environment(p)
    ]
    assert not broken


def test_no_test_folder_shadows_a_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert not packages & {path.name for path in (ROOT / "tests").iterdir()}
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_client_imports_neither_torch_nor_faiss() -> None:
    code = (
        "import sys, memory_service.client\n"
        "heavy = {'torch', 'faiss', 'diffusers', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
