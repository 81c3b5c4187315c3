"""The published backbones, on tiny random weights under the published file names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from original_wan import original_adapters, original_weights
from published_weights import FIRST, wrapped, write, write_published
from torch import Tensor

from encoder.checkpoint import save as save_encoder
from encoder.model import LatentAE, LatentAEConfig
from encoder.pooling import AvgPool
from generator.backbones import PUBLISHED, Backbone, Setup, causal_forcing, longlive, self_forcing
from generator.errors import CheckpointError, ConfigError, MissingFileError
from generator.options import model as model_options
from generator.options.groups import BACKBONES, completed, parser
from generator.weights import hub
from generator.weights.checkpoints import diffusers_name
from generator.weights.lora import AdaptedLinear, from_weights, merge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_published(tmp_path / "weights")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(device="cpu", dtype=torch.float32, height=32, width=48, text_cache=tmp_path / "text")


def expected(scale: float) -> dict[str, Tensor]:
    return {diffusers_name(name): scale * tensor for name, tensor in original_weights().items()}


def assert_weights(backbone: Backbone, weights: dict[str, Tensor]) -> None:
    loaded = backbone.model.transformer.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in loaded)


@pytest.mark.parametrize("build", [self_forcing, causal_forcing])
def test_generators_of_one_file(build: Callable[..., Backbone], root: Path, setup: Setup) -> None:
    backbone = build(root, setup)
    assert backbone.name == build.__name__
    assert_weights(backbone, expected(FIRST[backbone.name]))
    assert (backbone.window.window_frames, backbone.window.sink_frames) == (12, 1)
    assert backbone.geometry.latent_shape == (16, 4, 6)
    assert backbone.text.track("a village", 2).embeds.shape == (1, 512, 8)


def test_longlives_adapters_are_merged(root: Path, setup: Setup) -> None:
    merged = merge(original_weights(), from_weights(original_adapters()))
    backbone = longlive(root, setup)
    assert_weights(backbone, {diffusers_name(name): tensor for name, tensor in merged.items()})
    assert backbone.name == "longlive"


def test_longlives_adapters_may_stay_beside(root: Path, setup: Setup) -> None:
    backbone = longlive(root, setup, merged=False)
    modules = dict(backbone.model.transformer.named_modules())
    assert sum(isinstance(module, AdaptedLinear) for module in modules.values()) == 20
    query = original_weights()["blocks.0.self_attn.q.weight"]
    assert torch.equal(modules["blocks.0.attn1.to_q.base"].weight, query)
    assert backbone.name == "longlive-unmerged"


@pytest.mark.parametrize("name", hub.GENERATORS)
def test_the_copies_of_longlive_rag_will_do(name: str, root: Path, setup: Setup) -> None:
    for places in hub.GENERATORS[name]:
        original, copy = (place.below(root) for place in places)
        copy.parent.mkdir(parents=True, exist_ok=True)
        original.rename(copy)
    assert hub.missing(name, root) == []
    assert PUBLISHED[name](root, setup).name == name


@pytest.mark.parametrize(
    ("name", "index"), [(n, i) for n, p in hub.GENERATORS.items() for i in range(len(p))]
)
def test_a_missing_file_is_an_error_with_the_command_that_fetches_it(
    name: str, index: int, root: Path, setup: Setup
) -> None:
    file = hub.GENERATORS[name][index][0]
    file.below(root).unlink()
    with pytest.raises(MissingFileError) as error:
        PUBLISHED[name](root, setup)
    assert error.value.path == file.below(root)
    folder = root / file.repo.split("/")[1]
    assert f"hf download {file.repo} {file.path} --local-dir {folder}" in str(error.value)


def test_all_that_is_missing_is_said_at_once(tmp_path: Path, setup: Setup) -> None:
    with pytest.raises(MissingFileError) as error:
        longlive(tmp_path, setup)
    assert str(error.value).count("hf download") == 2
    assert " && hf download Wan-AI/" in str(error.value)
    assert "31.7 GB" in str(error.value)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("part", ["tokenizer", "text_encoder", "vae"])
def test_a_missing_part_of_wan_is_one_too(name: str, part: str, root: Path, setup: Setup) -> None:
    folder = hub.base_folder(root)
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(MissingFileError, match=f"hf download {hub.WAN} {part}/.* --local-dir {folder}"):
        PUBLISHED[name](root, setup)


def test_weights_must_be_whole(root: Path, setup: Setup) -> None:
    weights = wrapped(1)
    del weights["model._fsdp_wrapped_module.blocks.1.ffn.0.bias"]
    write(root, "LongLive-1.3B/models/longlive_base.pt", {"generator": weights})
    with pytest.raises(CheckpointError) as error:
        longlive(root, setup)
    assert error.value.missing == ("blocks.1.ffn.0.bias",)
    write(root, "Self-Forcing/checkpoints/self_forcing_dmd.pt", {"generator": wrapped(1)})
    with pytest.raises(CheckpointError, match="no 'generator_ema'"):
        self_forcing(root, setup)


def options(tmp_path: Path, *words: str):
    small = ["--device", "cpu", "--text-cache", str(tmp_path / "text"), "--height", "32", "--width", "48"]
    given = ["run", "--prompt", "a", *(small if "toy" not in words else []), *words]
    return completed(parser().parse_args(given))


def test_the_command_line_names_every_backbone(root: Path, tmp_path: Path) -> None:
    assert ("toy", *PUBLISHED, "wan") == BACKBONES
    small = LatentAEConfig(height=4, width=6, embedding_dim=8, hidden_dims=(32,))
    save_encoder(LatentAE(small), tmp_path / "encoder.safetensors")
    for name in BACKBONES[1:-1]:
        words = ["--backbone", name, "--weights", str(root)]
        backbone, encoder = model_options.load(options(tmp_path, *words, "--encoder", "avg-pool"))
        assert (backbone.name, backbone.geometry.latent_shape) == (name, (16, 4, 6))
        assert isinstance(encoder, AvgPool)
        _, rows = model_options.load(options(tmp_path, *words, "--encoder", "row-pool"))
        assert rows.encoder_id == "row-pool/16x4"
        with pytest.raises(MissingFileError, match=r"hf download .* checkpoints/ae_latent_mem\.pt"):
            model_options.load(options(tmp_path, *words))
    folder = hub.base_folder(root)
    words = ["--backbone", "wan", "--weights", str(folder), "--container", "generator_ema"]
    words += ["--checkpoint", str(root / "Self-Forcing/checkpoints/self_forcing_dmd.pt")]
    words += ["--encoder", str(tmp_path / "encoder.safetensors"), "--vae-chunk", "1"]
    backbone, encoder = model_options.load(options(tmp_path, *words))
    assert (backbone.name, encoder.embedding_dim) == ("wan", 8)
    assert len(backbone.decoder.stream()(torch.zeros(3, 16, 4, 6))) == 3


def test_unmerged_is_an_option(root: Path, tmp_path: Path) -> None:
    words = ["--backbone", "longlive", "--weights", str(root), "--encoder", "avg-pool", "--unmerged"]
    assert model_options.load(options(tmp_path, *words))[0].name == "longlive-unmerged"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backbone", "toy", "--height", "32"], "--height is for self_forcing, .*wan, got --backbone toy"),
        (["--backbone", "toy", "--vae-chunk", "60"], "--vae-chunk"),
        (["--backbone", "toy", "--height", "0"], "--height is for"),
        (["--backbone", "self_forcing", "--unmerged"], "--unmerged is for longlive"),
        (["--backbone", "longlive", "--checkpoint", "x"], "--checkpoint is for wan"),
        (["--backbone", "longlive", "--container", "x"], "--container is for wan"),
        (["--backbone", "wan"], "wan needs --weights"),
        (["--backbone", "wan", "--weights", "x"], "wan needs --encoder"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_options.load(options(tmp_path, *words))
