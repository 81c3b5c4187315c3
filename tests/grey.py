"""A backbone that is quick and decodes to grey levels, and requests for it."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from generator.backbones import Backbone, ToyText
from generator.configs import Geometry, Sampling, Window
from generator.requests.request import Request
from generator.wan.causal_wan import CausalWan

PROMPT = "a winter village at night; pan right 3s, pan left 3s"


class GreyDecoder:
    """Latents as grey levels, two pixel frames for each but the first."""

    fps, latent_fps = 8.0, 4.0

    def stream(self):
        started = False

        def decode_next(latents):
            nonlocal started
            grey = (latents.mean(1).tanh() * 100 + 128).to(torch.uint8).numpy()
            frames = grey.repeat(2, axis=0)[0 if started else 1 :]
            started = True
            return np.stack([frames] * 3, axis=-1)

        return decode_next


def grey_backbone(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        patch_size=(1, 4, 1),
        num_attention_heads=2,
        attention_head_dim=24,
        text_dim=64,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        rope_max_seq_len=1024,
    )
    return Backbone(
        name="grey",
        model=CausalWan(model.to(dtype)),
        text=ToyText(),
        decoder=GreyDecoder(),
        geometry=Geometry(height=8, width=8, patch=(1, 4, 1)),
        window=Window(),
        sampling=Sampling(steps=(1000, 500)),
    )


def request_for(tmp_path, *methods, num_frames=27, **window_changes):
    return Request(
        prompt=PROMPT,
        seed=1,
        methods=methods,
        num_frames=num_frames,
        pool="films",
        video="village",
        out=tmp_path / "out",
        block_frames=3,
        window_changes=window_changes,
    )
