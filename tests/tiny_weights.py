"""Weights in the toy's layout that are quick to run: an untrained model of two layers."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from encoder import checkpoint
from encoder.model import LatentAE, LatentAEConfig
from generator.backbones import TOY_WEIGHTS


def write_tiny_weights(folder: Path) -> Path:
    """Fill the folder with what `--weights` of the toy needs; the folder."""
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 4, 1),
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=16,
        out_channels=16,
        text_dim=64,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_max_seq_len=1024,
    )
    model.save_pretrained(folder / "transformer")
    encoder = LatentAE(LatentAEConfig(height=8, width=8, embedding_dim=16, hidden_dims=(8, 16)))
    checkpoint.save(encoder, folder / "encoder.safetensors")
    (folder / "codec.safetensors").write_bytes((TOY_WEIGHTS / "codec.safetensors").read_bytes())
    return folder
