"""The published rounding order, held bit for bit to a second implementation of model and rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from second_wan import Method, SecondWan, roll_out
from torch import Tensor

from encoder.model import AvgPool
from generator.checkpoints import build_transformer, convert, original_name
from generator.configs import Geometry, Window
from generator.context import Context
from generator.exact_rope import ExactRotation
from generator.history import History, video_spec
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.reference_numerics import NUMERICS, ReferenceWan, rms_norm
from generator.rollout import RolloutConfig, rollout
from generator.rope import FloatRotation
from generator.text import PromptTrack
from memory_service.memory import Memory
from memory_service.types import VideoKey

BLOCKS = 13
PASSES = 5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A random model, what it makes, and in which window."""

    heads: int = 2
    head_dim: int = 12
    layers: int = 2
    ffn_dim: int = 40
    freq_dim: int = 16
    geometry: Geometry = field(default_factory=lambda: Geometry(height=4, width=4))
    window: Window = field(default_factory=Window)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of diffusers' model."""
        return {
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim,
            "num_layers": self.layers,
            "ffn_dim": self.ffn_dim,
            "freq_dim": self.freq_dim,
            "text_dim": 20,
        }

    def weights(self, seed: int) -> dict[str, Tensor]:
        """Under original names, float32."""
        generator = torch.Generator().manual_seed(seed)
        with torch.device("meta"):
            shapes = WanTransformer3DModel(**self.config).state_dict()
        return {
            str(original_name(name)): 0.2 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in shapes.items()
        }

    def text(self, seed: int) -> Tensor:
        """Embedded prompt with the zero rows behind its end."""
        embeds = torch.randn(7, 20, generator=torch.Generator().manual_seed(seed))
        embeds[5:] = 0
        return embeds

    def noise(self, seed: int) -> SeededNoise:
        shape = self.geometry.latent_shape
        return SeededNoise(
            "numerics", seed, blocks=BLOCKS, block_frames=3, passes=PASSES - 1, latent_shape=shape
        )


SETTINGS = {
    "small": Setting(),
    "oblong": Setting(heads=3, head_dim=32, layers=3, geometry=Geometry(height=6, width=10)),
    "wide head": Setting(
        heads=2,
        head_dim=128,
        freq_dim=256,
        geometry=Geometry(height=8, width=4),
        window=Window(window_frames=9, sink_frames=2, top_k=3, guard_frames=2),
    ),
}


@dataclass
class Rolled:
    """Latents of each block and the flow of each pass."""

    latents: list[Tensor] = field(default_factory=list)
    flows: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One rollout, to be run by either implementation."""

    setting: Setting
    method: str
    seed: int
    dtype: torch.dtype

    def ours(self, numerics: str, memory: Memory) -> tuple[Rolled, list[Context]]:
        """What the project's own path makes, and what each block attends."""
        rolled = Rolled()
        weights = convert(self.setting.weights(self.seed))
        model = NUMERICS[numerics](build_transformer(self.setting.config, weights, self.dtype))
        model.flow = recorded(model.flow, rolled.flows)
        geometry, window = self.setting.geometry, self.setting.window
        config = RolloutConfig(policy=policy_named(self.method), geometry=geometry, window=window)
        track = PromptTrack(embeds=self.setting.text(self.seed)[None], rows=(0,) * BLOCKS)
        encoder = AvgPool(geometry.channels)
        spec = video_spec(encoder, geometry.latent_shape, self.dtype)
        with History(memory, VideoKey("numerics", numerics), spec) as history:
            blocks = list(rollout(model, config, track, self.setting.noise(self.seed), encoder, history))
        rolled.latents += [block.latents for block in blocks]
        return rolled, [block.context for block in blocks]

    @torch.inference_mode()
    def second(self, contexts: Sequence[Context]) -> Rolled:
        """What the second implementation makes, with the same frames retrieved."""
        rolled, window = Rolled(), self.setting.window
        weights = {name: weight.to(self.dtype) for name, weight in self.setting.weights(self.seed).items()}
        method = Method(
            window=window.window_frames,
            sink=window.sink_frames,
            retrieved=window.top_k if policy_named(self.method).retrieves else 0,
            absolute=self.method == "native",
        )
        model = SecondWan(weights, self.setting.heads, self.setting.text(self.seed), method)
        model.flow = recorded(model.flow, rolled.flows)
        noise = self.setting.noise(self.seed)
        draws = [noise.block(index) for index in range(BLOCKS)]
        pooled = [[placed.source.frame - window.sink_frames for placed in c.retrieved] for c in contexts]
        initial = torch.stack([draw.initial for draw in draws])
        rolled.latents += roll_out(model, initial, [draw.renoise for draw in draws], pooled)
        return rolled


def recorded(flow: Callable[..., Tensor], flows: list[Tensor]) -> Callable[..., Tensor]:
    """`flow`, leaving all it returns in `flows`."""

    def call(*args: object) -> Tensor:
        flows.append(flow(*args))
        return flows[-1]

    return call


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
    assert contexts[-1].keep_from > setting.window.sink_frames, "nothing was evicted"
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
