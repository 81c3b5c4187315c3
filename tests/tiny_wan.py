"""Tiny random parts of Wan in diffusers' folder layout: tokenizer, text encoder, autoencoder, transformer."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from tiny_rollouts import TINY
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

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


def vae(**config: object) -> AutoencoderKLWan:
    torch.manual_seed(0)
    small = {"base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    return AutoencoderKLWan(**(small | config)).eval()


def save_base(folder: Path) -> Path:
    """What all Wan backbones share, and the configuration of a tiny transformer without its weights."""
    tokenizer().save_pretrained(folder / "tokenizer")
    text_model().save_pretrained(folder / "text_encoder")
    vae().save_pretrained(folder / "vae")
    with torch.device("meta"):
        WanTransformer3DModel(**TINY).save_config(folder / "transformer")
    return folder
