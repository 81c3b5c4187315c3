"""Models whose re-created keys and values are compared with those that they had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.kv.traces import PROMPTS, new_history, seeded_noise
from encoder import checkpoint
from encoder.model import Encoder
from generator.backbones import toy
from generator.configs import Geometry, Sampling, Window
from generator.history.history import History
from generator.methods import policy_named
from generator.noise import BlockNoise, Noise
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.toy.config import WEIGHTS
from generator.wan.causal_wan import CausalWan
from generator.weights.checkpoints import build_transformer, convert

RAG = policy_named("longlive_rag")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One rollout, ready to begin."""

    name: str
    model: CausalWan
    config: RolloutConfig
    track: PromptTrack
    noise: Noise
    encoder: Encoder

    @contextmanager
    def history(self) -> Iterator[History]:
        with new_history(self.encoder, self.config.geometry.latent_shape, self.model.dtype) as history:
            yield history


def toy_subject(blocks: int) -> Subject:
    """The bundled toy on its first prompt."""
    backbone, prompt = toy(), next(iter(PROMPTS.values()))
    return Subject(
        name=f"the toy, {blocks} blocks of {prompt!r}",
        model=backbone.model,
        config=backbone.config(RAG),
        track=backbone.text.track(prompt, blocks),
        noise=seeded_noise(backbone, prompt, blocks),
        encoder=checkpoint.load(WEIGHTS / "encoder.safetensors"),
    )


def golden_subject(folder: Path, case: str = "rag_rollout_ae") -> Subject:
    """The reference's small random model on the noise that it drew; format in tests/golden/conftest.py."""
    config = json.loads((folder / f"{case}.json").read_text())["config"]
    tensors = load_file(folder / f"{case}.safetensors")
    kwargs, shape = config["pipeline"]["model_kwargs"], config["geometry"]
    window = Window(
        window_frames=kwargs["local_attn_size"],
        sink_frames=kwargs["sink_size"],
        top_k=kwargs["memory_size"],
        guard_frames=kwargs["recent_exclude"],
        block_frames=config["pipeline"]["num_frame_per_block"],
    )
    geometry = Geometry(channels=shape["latent_channels"], height=shape["latent_h"], width=shape["latent_w"])
    sampling = Sampling(
        steps=tuple(config["pipeline"]["denoising_step_list"]), shift=kwargs["timestep_shift"]
    )
    noise = DrawnNoise(tensors["noise_init"][0].split(window.block_frames), tensors["renoise"])
    weights = {name.removeprefix("ae."): tensor for name, tensor in tensors.items() if name.startswith("ae.")}
    return Subject(
        name=f"the golden model, {len(tensors['renoise'])} blocks of {case}",
        model=golden_model(folder, config["model"]),
        config=RolloutConfig(policy=RAG, geometry=geometry, window=window, sampling=sampling),
        track=PromptTrack(embeds=tensors["prompt_embeds"], rows=(0,) * len(tensors["renoise"])),
        noise=noise,
        encoder=checkpoint.from_weights(checkpoint.published_config(config["ae"]), weights),
    )


def golden_model(folder: Path, model: dict) -> CausalWan:
    """The float32 model that all golden cases share."""
    arguments = {
        "patch_size": tuple(model["patch_size"]),
        "num_attention_heads": model["num_heads"],
        "attention_head_dim": model["dim"] // model["num_heads"],
        "in_channels": model["in_dim"],
        "out_channels": model["out_dim"],
        **{name: model[name] for name in ("text_dim", "freq_dim", "ffn_dim", "num_layers", "eps")},
        "cross_attn_norm": model["cross_attn_norm"],
    }
    weights = load_file(folder / "original_wan_state_dict.safetensors")
    return CausalWan(build_transformer(arguments, convert(weights), torch.float32))


@dataclass(frozen=True)
class DrawnNoise:
    """Noise that was drawn before."""

    initial: tuple[Tensor, ...]
    renoise: Tensor

    def block(self, index: int) -> BlockNoise:
        return BlockNoise(self.initial[index], self.renoise[index])
