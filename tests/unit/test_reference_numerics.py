"""The published rounding order, held bit for bit to a second implementation of model and rollout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from numerics_cases import BLOCKS, PASSES, SETTINGS, Case, Setting
from tiny_wan import save_base
from torch import Tensor

from generator.backbones import Setup, wan
from generator.methods import policy_named
from generator.options import groups as options
from generator.options import model as model_options
from generator.wan.exact_rope import ExactRotation
from generator.wan.reference_numerics import NUMERICS, ReferenceWan, rms_norm
from generator.wan.rope import FloatRotation
from generator.weights.checkpoints import build_transformer, convert
from memory_service.memory import Memory


def first_difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> int | None:
    """The first of the pairs that are not the same bits."""
    pairs = enumerate(zip(a, b, strict=True))
    return next((index for index, (x, y) in pairs if not torch.equal(x, y)), None)


def difference(a: Tensor, b: Tensor) -> float:
    """Relative, L2."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("method", ["native", "relative", "longlive_rag", "random_memory"])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_pass_is_bit_equal_in_bfloat16(
    setting: Setting, method: str, seed: int, memory: Memory
) -> None:
    case = Case(setting=setting, method=method, seed=seed, dtype=torch.bfloat16)
    ours, contexts = case.ours("reference", memory)
    assert len(contexts[-1].kept) < contexts[-1].span.start, "nothing was evicted"
    assert len(contexts[-1].retrieved) == (setting.window.top_k if policy_named(method).retrieves else 0)
    second = case.second(contexts)
    assert len(ours.flows) == BLOCKS * PASSES
    assert ours.flows[0].dtype == torch.bfloat16
    assert first_difference(ours.flows, second.flows) is None
    assert first_difference(ours.latents, second.latents) is None


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_stock_path_rounds_otherwise(setting: Setting, memory: Memory) -> None:
    """What the test above would miss if its models had nothing to round: as close, and other bits."""
    case = Case(setting=setting, method="longlive_rag", seed=0, dtype=torch.bfloat16)
    stock, contexts = case.ours("stock", memory)
    second = case.second(contexts)
    assert first_difference(stock.flows, second.flows) == 0
    assert 1e-4 < difference(stock.flows[0], second.flows[0]) < 2e-2


@pytest.mark.parametrize("method", ["native", "longlive_rag"])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_in_float32_only_the_order_of_sums_differs(setting: Setting, method: str, memory: Memory) -> None:
    case = Case(setting=setting, method=method, seed=0, dtype=torch.float32)
    stock, _ = case.ours("stock", memory)
    reference, contexts = case.ours("reference", memory)
    second = case.second(contexts)
    for a, b, c in zip(stock.flows, reference.flows, second.flows, strict=True):
        assert difference(a, b) < 1e-5
        assert difference(b, c) < 1e-5


def test_all_weights_are_cast() -> None:
    setting = SETTINGS["small"]
    transformer = build_transformer(setting.config, convert(setting.weights(0)), torch.bfloat16)
    assert torch.float32 in {weight.dtype for weight in transformer.parameters()}
    assert {weight.dtype for weight in ReferenceWan(transformer).transformer.parameters()} == {torch.bfloat16}


def test_the_command_line_chooses() -> None:
    assert tuple(NUMERICS) == options.NUMERICS
    words = ["run", "--prompt", "a village at noon; hold 1s"]
    stock, reference = (
        model_options.load_backbone(options.completed(options.parser().parse_args([*words, *more]))).model
        for more in ([], ["--numerics=reference"])
    )
    assert (stock.numerics, stock.dtype) == ("stock", torch.float32)
    assert (reference.numerics, reference.dtype) == ("reference", torch.bfloat16)
    assert isinstance(reference, ReferenceWan)


def test_a_wan_folder_takes_it(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "wan")
    weights = convert(SETTINGS["small"].weights(0))
    build_transformer(SETTINGS["small"].config, weights, torch.float32).save_pretrained(
        folder / "transformer"
    )
    setup = Setup(device="cpu", height=32, width=48, text_cache=tmp_path / "cache", numerics="reference")
    model = wan(folder, setup=setup).model
    assert isinstance(model, ReferenceWan)
    assert {weight.dtype for weight in model.transformer.parameters()} == {torch.bfloat16}


def test_rms_norm_rounds_before_and_after_the_weight() -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(64, 96).bfloat16(), torch.nn.RMSNorm(96, eps=1e-6).bfloat16()
    norm.weight.data.uniform_(0.5, 2)
    once = torch.nn.functional.rms_norm(x.double(), (96,), norm.weight.double(), 1e-6).bfloat16()
    twice = rms_norm(norm, x)
    assert 0.1 < (once != twice).float().mean() < 0.5
    torch.testing.assert_close(once, twice, rtol=2**-7, atol=0)


def test_rotation_in_complex128_rounds_once() -> None:
    torch.manual_seed(0)
    x, cpu = torch.randn(1, 12, 2, 48), torch.device("cpu")
    exact, single = ExactRotation(), FloatRotation()
    turned = exact.rotate(x, exact.phases((3, 900), 2, 3, 48, cpu))
    other = single.rotate(x, single.phases((3, 900), 2, 3, 48, cpu))
    assert turned.dtype == torch.float32
    torch.testing.assert_close(turned, other, rtol=0, atol=1e-6)
    double = exact.rotate(x.double(), exact.phases((3, 900), 2, 3, 48, cpu))
    assert torch.equal(turned, double.float())
    assert not torch.equal(other, double.float())
