"""Wan weights under their original names, as published generators have them, into a diffusers model.

Everything is strict: a name that is missing, unknown or of another shape is an error that says so.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from generator.errors import CheckpointError, ConfigError, GeneratorError, MissingFileError

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

DIFFUSERS_NAMES = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
    "blocks.*.modulation": "blocks.*.scale_shift_table",
    **{f"blocks.*.self_attn.{x}": f"blocks.*.attn1.to_{x}" for x in "qkv"},
    "blocks.*.self_attn.o": "blocks.*.attn1.to_out.0",
    **{f"blocks.*.self_attn.norm_{x}": f"blocks.*.attn1.norm_{x}" for x in "qk"},
    **{f"blocks.*.cross_attn.{x}": f"blocks.*.attn2.to_{x}" for x in "qkv"},
    "blocks.*.cross_attn.o": "blocks.*.attn2.to_out.0",
    **{f"blocks.*.cross_attn.norm_{x}": f"blocks.*.attn2.norm_{x}" for x in "qk"},
    # Wan's norm3 is the norm before cross-attention, which diffusers calls norm2; the other norms have no
    # weights.
    "blocks.*.norm3": "blocks.*.norm2",
    "blocks.*.ffn.0": "blocks.*.ffn.net.0.proj",
    "blocks.*.ffn.2": "blocks.*.ffn.net.2",
}
"""Module, or parameter of no module, of the original model and of diffusers' model; * is a block's number."""

ORIGINAL_NAMES = {diffusers: original for original, diffusers in DIFFUSERS_NAMES.items()}

FOLDER_WEIGHTS = "diffusion_pytorch_model.safetensors"


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
    with _named_in_errors(path):
        if path.is_dir():
            folder = path / "transformer" if (path / "transformer").is_dir() else path
            return build_transformer(*_read_folder(folder), dtype)
        return build_transformer(config, load_weights(path, container), dtype, original=True)


def load_weights(path: Path | str, container: str | None = None) -> Mapping[str, Tensor]:
    """The weights of a file, under original names without prefixes. Raises as `load_transformer` does."""
    content = read_checkpoint(Path(path), "a diffusers folder or a checkpoint of the transformer")
    return unwrap(content, container)


def read_checkpoint(path: Path, expected: str) -> Mapping[str, Any]:
    """What is in a file (.pt, .pth, .safetensors). Raises MissingFileError, CheckpointError."""
    if not path.is_file():
        raise MissingFileError(path, expected)
    with _named_in_errors(path):
        if path.suffix == ".safetensors":
            return load_file(path)
        # The format before zip cannot be mapped into memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def folder_config(folder: Path) -> Mapping[str, Any]:
    """The transformer's of a diffusers folder; 1.3B's where it has none. Raises CheckpointError."""
    file = folder / "transformer" / "config.json"
    if not file.is_file():
        return WAN_1_3B
    with _named_in_errors(file):
        return dict(json.loads(file.read_text(encoding="utf-8")))


@contextmanager
def _named_in_errors(path: Path) -> Iterator[None]:
    """Files that are no checkpoints make their readers raise anything: here it becomes a CheckpointError."""
    try:
        yield
    except GeneratorError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CheckpointError(f"{path}: cannot be read: {type(error).__name__}: {reason}") from error


def _read_folder(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Configuration and weights of a diffusers folder, whole or in several files."""
    if not (folder / "config.json").is_file():
        raise MissingFileError(folder / "config.json", "the configuration of a diffusers transformer")
    files, index = [folder / FOLDER_WEIGHTS], folder / f"{FOLDER_WEIGHTS}.index.json"
    if index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    weights: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise MissingFileError(file, "weights of a diffusers transformer")
        weights |= load_file(file)
    return json.loads((folder / "config.json").read_text()), weights


def build_transformer(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    dtype: torch.dtype,
    *,
    original: bool = False,
) -> WanTransformer3DModel:
    """A transformer with exactly these weights, under diffusers names or original ones.

    Raises CheckpointError, in the spelling of the weights.
    What diffusers keeps in float32 (norms, modulation, time embedding) stays so whatever the dtype.
    """
    with torch.device("meta"):
        model = WanTransformer3DModel.from_config(dict(config))
    check_weights(model, weights, original=original)
    if original:
        weights = convert(weights)
    kept = set(WanTransformer3DModel._keep_in_fp32_modules)
    cast = {
        name: tensor.to(torch.float32 if kept & set(name.split(".")) else dtype)
        for name, tensor in weights.items()
    }
    model.load_state_dict(cast, strict=True, assign=True)
    return model.eval()


def check_weights(
    model: WanTransformer3DModel, weights: Mapping[str, Tensor], *, original: bool = False
) -> None:
    """Raises CheckpointError unless names and shapes are exactly those of the model."""
    own = model.state_dict()
    if original:
        own = {original_name(name) or name: tensor for name, tensor in own.items()}
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
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the checkpoint is of type {type(content).__name__}, not a dict")
    present = [key for key in CONTAINERS if isinstance(content.get(key), Mapping)]
    if container is None and len(present) > 1:
        raise ConfigError(f"the checkpoint holds {', '.join(present)}; name one of them")
    if container is not None and container not in present:
        raise CheckpointError(f"the checkpoint has no {container!r}; it has {', '.join(present) or 'none'}")
    weights = content[container or present[0]] if present else content
    if others := [str(name) for name, value in weights.items() if not isinstance(value, Tensor)]:
        raise CheckpointError("the checkpoint has entries that are no weights", unexpected=others)
    names = Counter(map(bare_name, weights))
    if twice := [name for name, count in names.items() if count > 1]:
        raise CheckpointError("the checkpoint has names twice, with and without prefix", unexpected=twice)
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
    return _renamed(name, DIFFUSERS_NAMES)


def original_name(name: str) -> str | None:
    """The inverse of `diffusers_name`."""
    return _renamed(name, ORIGINAL_NAMES)


def _renamed(name: str, table: Mapping[str, str]) -> str | None:
    block = re.match(r"blocks\.(\d+)\.", name)
    number = block[1] if block else ""
    generic = f"blocks.*.{name[block.end() :]}" if block else name
    module, _, kind = generic.rpartition(".")
    if generic in table:
        return table[generic].replace("*", number)
    return f"{table[module]}.{kind}".replace("*", number) if module in table else None
