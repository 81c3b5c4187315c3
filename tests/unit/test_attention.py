"""The cached path against the stock model, and against a dense one that keeps no cache at all."""

from __future__ import annotations

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn import functional as F

from generator.configs import Window
from generator.sampling import denoise, flow_schedule, pass_timesteps, sigma_at
from generator.wan.rope import phases, rotate

BLOCKS = 10


class DenseModel:
    """Recomputes every context frame's keys and values in lists of its own, frame by frame, and joins them
    per pass.

    A second implementation: shares the stock model and the table of contexts with the first, and nothing
    between.
    """

    def __init__(self, model, embeds: Tensor) -> None:
        self.t = model.transformer
        self.text = self.t.condition_embedder.text_embedder(embeds[None])
        self.frames: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def forward(self, x: Tensor, timestep: Tensor, context, keep: bool = False) -> Tensor:
        tokens = x.shape[-2] // 2 * (x.shape[-1] // 2)
        h = self.t.patch_embedding(x.transpose(0, 1)[None]).flatten(2).transpose(1, 2)
        embedder = self.t.condition_embedder
        temb = embedder.time_embedder(embedder.timesteps_proj(timestep[None]))
        modulation = embedder.time_proj(F.silu(temb)).unflatten(1, (6, -1))
        for layer, block in enumerate(self.t.blocks):
            shift1, scale1, gate1, shift2, scale2, gate2 = (block.scale_shift_table + modulation).chunk(6, 1)
            y = block.norm1(h) * (1 + scale1) + shift1
            h = h + self.attend(layer, block.attn1, y, context, keep) * gate1
            q = block.attn2.norm_q(block.attn2.to_q(block.norm2(h)))
            k = block.attn2.norm_k(block.attn2.to_k(self.text))
            h = h + softmax_attention(block.attn2, q, k, block.attn2.to_v(self.text))
            h = h + block.ffn(block.norm3(h) * (1 + scale2) + shift2) * gate2
        shift, scale = (self.t.scale_shift_table + temb[:, None]).chunk(2, 1)
        out = self.t.proj_out(self.t.norm_out(h) * (1 + scale) + shift)
        rows = x.shape[-2] // 2
        out = out.reshape(3, rows, tokens // rows, 2, 2, 16)
        return out.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)

    def attend(self, layer: int, attn, y: Tensor, context, keep: bool) -> Tensor:
        q, k, v = attn.norm_q(attn.to_q(y)), attn.norm_k(attn.to_k(y)), attn.to_v(y)
        if keep:
            frames = range(context.span.start, context.span.stop)
            for frame, key, value in zip(frames, k.chunk(3, 1), v.chunk(3, 1), strict=True):
                self.frames.setdefault(frame, []).append((key, value))
        sources = [placed.source for placed in context.frames]
        past = [source if isinstance(source, int) else source.frame for source in sources]
        keys = torch.cat([*(self.frames[frame][layer][0] for frame in past), k], 1)
        values = torch.cat([*(self.frames[frame][layer][1] for frame in past), v], 1)
        own = list(context.key_positions)
        positions = [placed.position for placed in context.frames] + own
        return softmax_attention(attn, turned(attn, q, own), turned(attn, keys, positions), values)


def turned(attn, x: Tensor, positions: list[int]) -> Tensor:
    heads = x.unflatten(2, (attn.heads, -1))
    side = int((x.shape[1] // len(positions)) ** 0.5)
    return rotate(heads, *phases(torch.tensor(positions), side, side, heads.shape[-1])).flatten(2)


def softmax_attention(attn, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("method", ["native", "relative", "longlive_rag"])
def test_rollout_equals_dense_recomputation(tiny, method: str) -> None:
    small = Window(window_frames=9, sink_frames=1, top_k=4, guard_frames=1)
    tiny = tiny.variant(window=small)
    blocks = tiny.run(method, BLOCKS)
    assert method != "longlive_rag" or len(blocks[-1].hits) == 4
    dense = DenseModel(tiny.model(), tiny.track(1).embeds[0])
    schedule = flow_schedule(tiny.sampling.shift)
    timesteps = pass_timesteps(tiny.sampling, schedule)
    noise = tiny.noise(BLOCKS)
    with torch.inference_mode():
        for block in blocks:
            draws = noise.block(block.index)
            latents = denoise(
                lambda x, t, c=block.context: dense.forward(x, t, c),
                draws.initial,
                draws.renoise,
                timesteps,
                sigma_at(schedule, timesteps),
            )
            torch.testing.assert_close(block.latents, latents, atol=1e-5, rtol=1e-5)
            dense.forward(latents, torch.tensor(0.0), block.context, keep=True)


def test_first_block_equals_the_untouched_model(tiny) -> None:
    """With nothing to attend but itself, a block is what stock diffusers makes of a three-frame video."""
    model = tiny.model().transformer
    stock = WanTransformer3DModel(**{k: v for k, v in model.config.items() if not k.startswith("_")})
    stock.load_state_dict(model.state_dict())
    (block,) = tiny.run("native", 1)
    embeds = tiny.track(1).embeds
    draws = tiny.noise(1).block(0)
    schedule = flow_schedule(tiny.sampling.shift)
    timesteps = pass_timesteps(tiny.sampling, schedule)
    with torch.inference_mode():
        latents = denoise(
            lambda x, t: stock(x.transpose(0, 1)[None], t[None], embeds).sample[0].transpose(0, 1),
            draws.initial,
            draws.renoise,
            timesteps,
            sigma_at(schedule, timesteps),
        )
    torch.testing.assert_close(block.latents, latents, atol=2e-5, rtol=2e-5)


def test_only_weightless_modules_are_replaced(tiny) -> None:
    model = tiny.model().transformer
    names = {name for name, _ in model.named_parameters()}
    assert not any(name.startswith(("rope", "condition_embedder.timesteps_proj")) for name in names)
    assert type(model).__module__.startswith("diffusers.")
    assert all(type(block).__module__.startswith("diffusers.") for block in model.blocks)
