"""Images and compose file: judged by the real tools, and by doing without an engine what they say."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client.parser import text_string_to_metric_families

from generator.options.groups import parser as generator_parser
from memory_service.cli.config_options import PREFIX, config_options

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = [ROOT / "memory_service" / "Dockerfile", ROOT / "generator" / "Dockerfile"]
DEPLOY = ROOT / "deploy"
PROFILES = ("gpu", "generators", "metrics")

Service = dict[str, Any]


def run(*words: str | Path, cwd: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options
    )


def composed(*profiles: str, environment: dict[str, str] | None = None) -> dict[str, Service]:
    """The services that the real tool makes of the file."""
    words = [word for profile in profiles for word in ("--profile", profile)]
    done = run(
        BIN / "docker-compose", "-f", COMPOSE, *words, "config", "--format", "json", env=environment or {}
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    services: dict[str, Service] = json.loads(done.stdout)["services"]
    return services


def test_the_tools_find_nothing_wrong() -> None:
    for words in (
        (BIN / "docker-compose", "-f", COMPOSE, "config", "--quiet"),
        (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE),
        (BIN / "hadolint", *DOCKERFILES),
    ):
        done = run(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_would_find_something(tmp_path: Path) -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace("stop_grace_period: 30s", "stop_grace_period: soon"), encoding="utf-8")
    assert run(BIN / "docker-compose", "-f", broken, "config", "--quiet").returncode != 0
    broken.write_text(text.replace("read_only: true", "read_only: [true]"), encoding="utf-8")
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert run(BIN / "check-jsonschema", *schema, broken).returncode != 0
    unpinned = tmp_path / "Dockerfile"
    unpinned.write_text(
        DOCKERFILES[0].read_text(encoding="utf-8").replace(":3.11.13-slim-bookworm", ""), encoding="utf-8"
    )
    assert run(BIN / "hadolint", unpinned).returncode != 0


@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), {"memory"}),
        (("gpu",), {"memory", "memory-gpu"}),
        (("generators",), {"memory", "generator-1", "generator-2"}),
        (("metrics",), {"memory", "prometheus"}),
    ],
)
def test_profiles_add_services(profiles: tuple[str, ...], services: set[str]) -> None:
    assert set(composed(*profiles)) == services


def test_every_service_is_confined() -> None:
    for name, service in composed(*PROFILES).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert service["tmpfs"], name
        image = service["image"]
        assert "build" in service or image.rpartition(":")[2] not in ("", "latest", image), name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def test_no_image_runs_as_root() -> None:
    for path in DOCKERFILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        users = [line.split()[1] for line in lines if line.startswith("USER ")]
        assert users == ["10001:10001"]
        assert lines.index("USER 10001:10001") < next(
            number for number, line in enumerate(lines) if line.startswith("ENTRYPOINT")
        )
        assert all(":" in line for line in lines if line.startswith("FROM "))
    assert composed("metrics")["prometheus"]["user"] == "65534:65534"


def test_memories_and_generators_meet_at_a_socket_and_nowhere_else() -> None:
    services = composed(*PROFILES)
    for name in ("generator-1", "generator-2"):
        worker = services[name]
        assert worker["network_mode"] == "none"
        assert "unix:/run/reverie/memory.sock" in worker["command"]
        assert mounts(worker)["/run/reverie"] == "socket"
        assert worker["depends_on"]["memory"]["condition"] == "service_healthy"
    for name in ("memory", "memory-gpu"):
        assert set(services[name]["networks"]) == {"metrics"}
        assert "ports" not in services[name]
    assert mounts(services["memory"]).keys() == mounts(services["memory-gpu"]).keys()
    assert not set(mounts(services["memory"]).values()) & set(mounts(services["memory-gpu"]).values())
    moved = composed("generators", "gpu", environment={"REVERIE_SOCKET": "socket-gpu"})
    assert mounts(moved["generator-1"])["/run/reverie"] == mounts(moved["memory-gpu"])["/run/reverie"]


def mounts(service: Service) -> dict[str, str]:
    return {mount["target"]: mount["source"] for mount in service["volumes"]}


def test_the_gpu_service_differs_in_image_index_and_device_alone() -> None:
    services = composed("gpu")
    cpu, gpu = services["memory"], services["memory-gpu"]
    assert gpu["build"]["args"] == {"EXTRA": "service-gpu"}
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    index = gpu["environment"].pop("REVERIE_MEMORY_INDEX")
    assert index == "faiss-flat"
    same = ("environment", "networks", "healthcheck", "restart", "stop_grace_period", "tmpfs")
    assert {key: cpu[key] for key in same} == {key: gpu[key] for key in same}


def test_variables_are_those_of_the_server() -> None:
    known = {option.variable for option in config_options()} | {f"{PREFIX}LOG_FORMAT", f"{PREFIX}LOG_LEVEL"}
    used = set(composed("gpu")["memory-gpu"]["environment"])
    for line in DOCKERFILES[0].read_text(encoding="utf-8").splitlines():
        used |= {word.partition("=")[0] for word in line.split() if word.startswith(PREFIX)}
    assert len(used) >= 5
    assert used <= known


def test_workers_run_commands_that_exist() -> None:
    for name in ("generator-1", "generator-2"):
        options = generator_parser().parse_args(composed("generators")[name]["command"])
        assert (options.command, options.pool) == ("run", "films")


def test_the_build_context_is_small() -> None:
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    ]
    assert patterns[0] == "*", "whatever is not named stays out"
    kept = [ROOT / pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert all(path.exists() for path in kept)
    copied = {
        word
        for dockerfile in DOCKERFILES
        for line in dockerfile.read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    tops = {path.relative_to(ROOT) for path in kept}
    assert all(any(Path(word).is_relative_to(top) for top in tops) for word in copied), copied


def test_pinned_versions_lie_in_the_ranges_of_the_project() -> None:
    pins = pinned()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for extra in ("service", "service-gpu", "server", "otel", "encoder", "generator"):
        wanted += [text for text in extras[extra] if not text.startswith("reverie[")]
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pin), (
            f"{requirement.name}: {pin} is not {requirement.specifier}"
        )


def pinned() -> dict[str, str]:
    lines = (DEPLOY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def documented_metrics() -> set[str]:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.split("## Metrics\n")[1].split("\n## ")[0]
    return {line.split("`")[1].partition("{")[0] for line in table.splitlines() if line.startswith("| `")}


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for text in expressions for name in re.findall(r"reverie_memory_\w+", text)}
    known = documented_metrics()
    assert len(asked) > 15
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= known
    headings = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in rules:
        assert f"# {rule['annotations']['runbook']}\n" in headings, rule["alert"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_prometheus_asks_where_the_service_answers() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    service = composed("metrics")[host]
    assert service["environment"]["REVERIE_MEMORY_METRICS_ADDRESS"] == f"0.0.0.0:{port}"
    assert "metrics" in composed("metrics")["prometheus"]["networks"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_installs_and_serves(tmp_path: Path) -> None:
    """The steps of the Dockerfile in a directory with its build context and in a venv of their own."""
    context = tmp_path / "src"
    dockerfile = DOCKERFILES[0].read_text(encoding="utf-8").replace("\\\n", " ")
    for line in dockerfile.split("FROM ")[1].splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                copy(ROOT / source, context / target, named=len(sources) == 1 and not target.endswith("/"))
    (install,) = (line for line in dockerfile.splitlines() if line.startswith("RUN python -m venv"))
    venv = tmp_path / "venv"
    command = install.removeprefix("RUN ").replace("/opt/reverie", str(venv)).replace("${EXTRA}", "service")
    done = subprocess.run(
        ["sh", "-ec", command.replace("python -m venv", f"{sys.executable} -m venv")],
        cwd=context,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    address = f"unix:{tmp_path}/memory.sock"
    environment = {"REVERIE_MEMORY_DATA": str(tmp_path / "data"), "REVERIE_MEMORY_ADDRESS": address}
    environment |= {"REVERIE_MEMORY_METRICS_ADDRESS": "127.0.0.1:0", "REVERIE_MEMORY_LOG_FORMAT": "json"}
    environment["REVERIE_MEMORY_INDEX"] = "faiss-flat"
    program = venv / "bin" / "reverie-memory"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "serve"], env=environment, stdout=subprocess.PIPE, stderr=log, cwd=tmp_path
        )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"serving ")
        health = run(program, "health", "--timeout", "10", env=environment, cwd=tmp_path)
        assert health.returncode == 0, health.stderr
        lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
        (metrics,) = (line["address"] for line in lines if line["event"] == "metrics")
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert any(f.name == "reverie_memory_build_info" for f in text_string_to_metric_families(text))
    finally:
        server.terminate()
        assert server.wait(30) == 0
        if server.stdout is not None:
            server.stdout.close()
    assert run(program, "health", "--timeout", "1", env=environment, cwd=tmp_path).returncode == 5


def copy(source: Path, target: Path, *, named: bool) -> None:
    """As COPY does it, without what .dockerignore leaves out."""
    destination = target if named else target / source.name
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy(source, destination)
