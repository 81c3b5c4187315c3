"""Wan weights under their original names, as published generators have them, into a diffusers model.

Everything is strict: a name that is missing, unknown or of another shape is an error that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from generator.errors import CheckpointError, ConfigError, MissingFileError

WAN_1_3B: Mapping[str, Any] = {
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
"""Arguments of WanTransformer3DModel for Wan 2.1 T2V 1.3B: 825 tensors, 1,418,996,800 values."""

CONTAINERS = ("generator", "generator_ema", "model")
"""Keys under which published files hold the generator's weights."""

WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
PREFIXES = ("module.", "model.")

RENAMES = (
    (r"patch_embedding", r"patch_embedding"),
    (r"text_embedding\.0", r"condition_embedder.text_embedder.linear_1"),
    (r"text_embedding\.2", r"condition_embedder.text_embedder.linear_2"),
    (r"time_embedding\.0", r"condition_embedder.time_embedder.linear_1"),
    (r"time_embedding\.2", r"condition_embedder.time_embedder.linear_2"),
    (r"time_projection\.1", r"condition_embedder.time_proj"),
    (r"head\.modulation", r"scale_shift_table"),
    (r"head\.head", r"proj_out"),
    (r"blocks\.(\d+)\.modulation", r"blocks.\1.scale_shift_table"),
    (r"blocks\.(\d+)\.self_attn\.([qkv])", r"blocks.\1.attn1.to_\2"),
    (r"blocks\.(\d+)\.self_attn\.o", r"blocks.\1.attn1.to_out.0"),
    (r"blocks\.(\d+)\.self_attn\.(norm_[qk])", r"blocks.\1.attn1.\2"),
    (r"blocks\.(\d+)\.cross_attn\.([qkv])", r"blocks.\1.attn2.to_\2"),
    (r"blocks\.(\d+)\.cross_attn\.o", r"blocks.\1.attn2.to_out.0"),
    (r"blocks\.(\d+)\.cross_attn\.(norm_[qk])", r"blocks.\1.attn2.\2"),
    # Wan's norm3 is the norm before cross-attention, which diffusers calls norm2; the other norms have no
    # weights.
    (r"blocks\.(\d+)\.norm3", r"blocks.\1.norm2"),
    (r"blocks\.(\d+)\.ffn\.0", r"blocks.\1.ffn.net.0.proj"),
    (r"blocks\.(\d+)\.ffn\.2", r"blocks.\1.ffn.net.2"),
)
"""Module of the original model (a pattern) and of diffusers' model."""


def load_transformer(
    path: Path | str,
    config: Mapping[str, Any] = WAN_1_3B,
    *,
    dtype: torch.dtype = torch.bfloat16,
    container: str | None = None,
) -> WanTransformer3DModel:
    """The transformer of a diffusers folder, or of a file with original names (.pt, .pth, .safetensors).

    container: key of the weights in a file that holds several, e.g. "generator_ema". Raises MissingFileError,
    CheckpointError.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(path, "a diffusers folder or a checkpoint of the transformer")
    if path.is_dir():
        folder = path / "transformer" if (path / "transformer").is_dir() else path
        if not (folder / "config.json").is_file():
            raise MissingFileError(folder / "config.json", "the configuration of a diffusers transformer")
        return WanTransformer3DModel.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    content = (
        load_file(path)
        if path.suffix == ".safetensors"
        else torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    )
    return build_transformer(config, convert(unwrap(content, container)), dtype)


def build_transformer(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype
) -> WanTransformer3DModel:
    """A transformer with exactly these weights under diffusers names; raises CheckpointError.

    What diffusers keeps in float32 (norms, modulation, time embedding) stays so whatever the dtype.
    """
    with torch.device("meta"):
        model = WanTransformer3DModel(**config)
    check_weights(model, weights)
    kept = set(WanTransformer3DModel._keep_in_fp32_modules)
    cast = {
        name: tensor.to(torch.float32 if kept & set(name.split(".")) else dtype)
        for name, tensor in weights.items()
    }
    model.load_state_dict(cast, strict=True, assign=True)
    return model.eval()


def check_weights(model: WanTransformer3DModel, weights: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError unless names and shapes are exactly those of the model."""
    own = model.state_dict()
    misshapen = [
        f"{name} is {list(weights[name].shape)}, expected {list(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    missing, unexpected = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or unexpected or misshapen:
        raise CheckpointError(
            "the weights do not fit the transformer",
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )


def unwrap(content: Mapping[str, Any], container: str | None = None) -> Mapping[str, Tensor]:
    """The state dict inside a checkpoint, its names without the prefixes of wrappers."""
    present = [key for key in CONTAINERS if isinstance(content.get(key), Mapping)]
    if container is None and len(present) > 1:
        raise ConfigError(f"the checkpoint holds {', '.join(present)}; name one of them")
    if container is not None and container not in present:
        raise CheckpointError(f"the checkpoint has no {container!r}; it has {', '.join(present) or 'none'}")
    weights = content[container or present[0]] if present else content
    return {bare_name(name): tensor for name, tensor in weights.items()}


def bare_name(name: str) -> str:
    """A weight's name without what FSDP, checkpointing and pipeline wrappers put into it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Original names -> diffusers names; tensors are the same. Raises CheckpointError on unknown names."""
    names = {name: diffusers_name(name) for name in weights}
    if unknown := [name for name, converted in names.items() if converted is None]:
        raise CheckpointError("the checkpoint has names that Wan does not have", unexpected=unknown)
    return {str(names[name]): tensor for name, tensor in weights.items()}


def diffusers_name(name: str) -> str | None:
    """The name of one weight in diffusers' model; None where Wan has no such weight."""
    module, _, kind = name.rpartition(".")
    if kind == "modulation":
        module, kind = name, ""
    for pattern, replacement in RENAMES:
        if match := re.fullmatch(pattern, module):
            return ".".join(filter(None, (match.expand(replacement), kind)))
    return None
