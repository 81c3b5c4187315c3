"""Reads a folder of reference data (manifest.json, <case>.json, <case>.safetensors) and hands its cases to
the tests.

`pytest tests/golden --golden-dir DIR` runs any folder of that format; without the option the copy in `data`
is run. Nothing here or in the tests is made for one folder: dimensions, windows and lengths come from each
case's configuration.
"""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from generator.wan.causal_wan import CausalWan
from generator.weights.checkpoints import build_transformer, convert
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.memory import Memory

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
WEIGHTS_CASE = "original_wan_state_dict"

CHECKERS = {
    "test_autoencoder": ("ae_losses",),
    "test_lora": ("lora",),
    "test_rollouts": (
        "native_rollout",
        "rag_rollout_avgpool",
        "rag_rollout_ae",
        "infinity_rope_rollout",
        "deep_forcing_rollout",
    ),
    "test_schedule": ("infinity_rope_rollout",),
    "test_scheduler": ("scheduler",),
    "test_transformer": ("transformer_forward",),
    "test_weights": (WEIGHTS_CASE,),
}
"""Test module -> cases that it checks. A case that stands nowhere fails the run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-dir", type=Path, default=DATA, help="folder of reference data to reproduce")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Where pytest starts above this folder, the option is not known yet and the default holds.
    golden = GoldenSet(metafunc.config.getoption("golden_dir", DATA))
    if "any_case" in metafunc.fixturenames:
        metafunc.parametrize("any_case", golden.cases)
    if "case" in metafunc.fixturenames:
        names = CHECKERS[metafunc.module.__name__.rpartition(".")[2]]
        cases = [golden.case(name) for name in golden.cases if name in names]
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


class GoldenSet:
    """One folder of reference data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.cases: list[str] = self.manifest["cases"]

    def case(self, name: str) -> Case:
        return Case(self, name)


class Case:
    """One case: its configuration, its tensors and its tolerance."""

    def __init__(self, golden: GoldenSet, name: str) -> None:
        self.golden = golden
        self.name = name
        self.info: dict[str, Any] = json.loads((golden.folder / f"{name}.json").read_text())

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.golden.folder / f"{self.name}.safetensors")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start with `prefix`, without it."""
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(**self.info["config"])

    def check(self, name: str, actual: Tensor, *, atol: float | None = None) -> None:
        """|actual - expected| <= atol + rtol * |expected| with the case's tolerance; prints the largest
        error."""
        expected, tolerance = self[name], self.info["tolerance"]
        atol = tolerance["suggested_atol"] if atol is None else atol
        assert actual.shape == expected.shape, f"{name}: {actual.shape}, expected {expected.shape}"
        error = (actual.double() - expected.double()).abs().max().item() if actual.numel() else 0.0
        print(f"{self.name} {name}: largest error {error:.2e}, atol {atol:.0e}")
        torch.testing.assert_close(
            actual, expected, atol=atol, rtol=tolerance["suggested_rtol"], msg=lambda m: f"{name}: {m}"
        )


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> GoldenSet:
    return GoldenSet(pytestconfig.getoption("golden_dir", DATA))


@pytest.fixture
def checkers() -> dict[str, tuple[str, ...]]:
    return CHECKERS


@pytest.fixture
def make_wan() -> Callable[[Case], CausalWan]:
    """Builds the float32 model of a case from the set's weights."""

    def make(case: Case) -> CausalWan:
        model = case.config.model
        config = {
            "patch_size": tuple(model["patch_size"]),
            "num_attention_heads": model["num_heads"],
            "attention_head_dim": model["dim"] // model["num_heads"],
            "in_channels": model["in_dim"],
            "out_channels": model["out_dim"],
            "text_dim": model["text_dim"],
            "freq_dim": model["freq_dim"],
            "ffn_dim": model["ffn_dim"],
            "num_layers": model["num_layers"],
            "cross_attn_norm": model["cross_attn_norm"],
            "eps": model["eps"],
        }
        weights = load_file(case.golden.folder / f"{WEIGHTS_CASE}.safetensors")
        return CausalWan(build_transformer(config, convert(weights), torch.float32))

    return make


@pytest.fixture(params=["engine", "server"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    """An empty memory, in process and behind a real server."""
    if request.param == "engine":
        engine = MemoryEngine(tmp_path / "memory")
        yield engine
        engine.close()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "memory_service", "serve"]
    server = subprocess.Popen([*command, "--data", str(tmp_path / "memory"), "--address", address], cwd=ROOT)
    try:
        with MemoryClient(address, timeout_s=30) as client:
            client.info()
            yield client
    finally:
        server.terminate()
        assert server.wait(30) == 0
