"""The Wan paths on tiny random models in diffusers' folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from original_wan import original_weights
from safetensors.torch import save_file
from tiny_rollouts import TINY
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from generator.backbones import toy, wan_1_3b
from generator.checkpoints import diffusers_name
from generator.configs import Geometry
from generator.context import policy_named
from generator.errors import MissingFileError
from generator.toy.codec import ToyCodec
from generator.toy.config import ModelConfig
from generator.toy.model import build
from generator.umt5 import UMT5, clean_prompt
from generator.vae import WanVAE

WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "village": 4}
"""The tokenizer knows these words, and puts </s> after a prompt as UMT5's does."""


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")


def text_model() -> UMT5EncoderModel:
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    return UMT5EncoderModel(config).eval()


def vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


@pytest.fixture
def folder(tmp_path: Path, tiny) -> Path:
    tokenizer().save_pretrained(tmp_path / "tokenizer")
    text_model().save_pretrained(tmp_path / "text_encoder")
    vae().save_pretrained(tmp_path / "vae")
    tiny.model().transformer.save_pretrained(tmp_path / "transformer")
    return tmp_path


def test_the_toy_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"codec\.safetensors"):
        toy(tmp_path)
    ToyCodec().save(tmp_path / "codec.safetensors")
    with pytest.raises(MissingFileError, match="transformer"):
        toy(tmp_path)
    build(ModelConfig(num_layers=1), seed=0).save_pretrained(tmp_path / "transformer")
    backbone = toy(tmp_path)
    assert backbone.geometry.latent_shape == (16, 8, 8)
    assert backbone.text.track("a village; pan right 2s, hold 1s", 4).rows == (0, 0, 0, 1)
    assert backbone.decoder.stream()(torch.randn(3, 16, 8, 8)).shape == (3, 64, 64, 3)
    assert backbone.model.dtype == torch.float32


def test_a_whole_backbone_from_a_folder(folder: Path) -> None:
    backbone = wan_1_3b(folder, device="cpu", dtype=torch.float32, geometry=Geometry(height=4, width=4))
    track = backbone.text.track("a village", 5)
    assert track.embeds.shape == (1, 512, 8)
    assert track.rows == (0,) * 5
    pixels = backbone.decoder.stream()(torch.randn(3, 16, 4, 4))
    assert pixels.shape == (9, 32, 32, 3)
    config = backbone.config(policy_named("longlive_rag"))
    assert config.window.window_frames == 12
    assert config.sampling.steps == (1000, 750, 500, 250)


def test_a_checkpoint_takes_the_place_of_the_folders_transformer(folder: Path, tmp_path: Path) -> None:
    save_file(original_weights(), tmp_path / "few_step.safetensors")
    backbone = wan_1_3b(
        folder, tmp_path / "few_step.safetensors", device="cpu", dtype=torch.float32, config=TINY
    )
    loaded = backbone.model.transformer.state_dict()
    for name, tensor in original_weights().items():
        assert torch.equal(loaded[diffusers_name(name)], tensor)


@pytest.mark.parametrize("part", ["tokenizer", "text_encoder", "vae", "transformer"])
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(MissingFileError, match=part if part != "transformer" else "config.json"):
        wan_1_3b(folder, device="cpu", dtype=torch.float32)


def test_rows_past_the_prompt_are_zero_and_stay() -> None:
    text = UMT5(tokenizer(), text_model(), text_len=6)
    embeds = text.encode("a village")
    assert embeds.shape == (6, 8)
    assert (embeds[3:] == 0).all()
    assert (embeds[:3] != 0).any(dim=-1).all()
    assert text.encode("a " * 20).shape == (6, 8)


def test_prompts_are_cleaned() -> None:
    assert clean_prompt("  a\n village &amp;amp; \t sea ") == "a village & sea"
    assert clean_prompt("schÃ¶n") == "schön"


@pytest.mark.parametrize("split", [[3, 3, 3], [1, 8], [9]])
def test_streamed_decoding_equals_decoding_at_once(split: list[int]) -> None:
    model, latents = vae(), torch.randn(9, 16, 4, 4)
    mean, std = torch.tensor(model.config.latents_mean), torch.tensor(model.config.latents_std)
    assert float(mean[0]) == pytest.approx(-0.7571)
    assert float(std[15]) == pytest.approx(1.9160)
    raw = latents.transpose(0, 1)[None] * std.view(1, -1, 1, 1, 1) + mean.view(1, -1, 1, 1, 1)
    with torch.inference_mode():
        whole = model.decode(raw).sample[0]
    expected = ((whole.clamp(-1, 1) * 0.5 + 0.5) * 255).byte().permute(1, 2, 3, 0).numpy()
    decode = WanVAE(model).stream()
    pixels = np.concatenate([decode(part) for part in latents.split(split)])
    assert pixels.shape == (4 * 9 - 3, 32, 32, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_tiny_weights_are_what_was_saved(folder: Path, tiny) -> None:
    backbone = wan_1_3b(folder, device="cpu", dtype=torch.float32)
    saved = tiny.model().transformer.state_dict()
    loaded = backbone.model.transformer.state_dict()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
