"""What a rollout leaves in its window, and what it chose on the way, against the reference's."""

from __future__ import annotations

import torch
from torch import Tensor

from generator.block_sampler import BlockSampler
from generator.kv.token_slots import TokenSlots
from generator.methods.context import Context
from generator.rollout_config import RolloutConfig
from generator.wan import rope
from generator.wan.kv_shape import KEY, VALUE


def check_cache(case, config: RolloutConfig, sampler: BlockSampler, context: Context) -> None:
    """What the last block leaves in the last layer, where the reference has it; its dead end is not compared.

    Deep Forcing stores keys rotated, Infinity-RoPE those of frame 0 only.
    """
    rotated_all = case.name == "deep_forcing_rollout"
    slots = sampler.slots
    phases = {placed.source: placed.position for placed in context.frames} | dict(
        zip(range(context.span.start, context.span.stop), context.key_positions, strict=True)
    )
    keys, values = [], []
    for frame in phases:
        slab = sampler.cache.slab(frame)[-1]
        key = slab[KEY]
        if rotated_all or frame == 0:
            turn = rope.phases(
                torch.tensor([phases[frame]]), config.geometry.rows, config.geometry.columns, key.shape[-1]
            )
            key = rope.rotate(key[None], *turn)[0]
        keys.append(key)
        values.append(slab[VALUE])
    if isinstance(slots, TokenSlots):
        region, chosen = slots.with_chosen(len(slots.chosen) - 1)[0], slots.chosen[-1]
        if chosen is not None:
            keys.insert(config.window.sink_frames, region[: len(chosen.uses)])
    live = case.info["calls"][-1]["local_end_after"]
    assert sum(map(len, keys)) == live
    case.tensors["live_keys"] = case["cache_k_last_layer"][:, :live]
    case.check("live_keys", torch.cat(keys)[None])
    if "cache_v_last_layer" in case:
        case.tensors["live_values"] = case["cache_v_last_layer"][:, :live]
        case.check("live_values", torch.cat(values)[None])


def check_choices(case, config: RolloutConfig, choices: list[tuple[Tensor, Tensor]]) -> None:
    """Tokens that each layer kept at each compression, and the scores by which it did."""
    layers = case.config.model["num_layers"]
    sink_tokens = config.window.sink_frames * config.geometry.tokens_per_frame
    events = [choices[i : i + layers] for i in range(0, len(choices), layers)]
    assert len(events) == len(case["pc_block"])
    for event, chosen in enumerate(events):
        for layer, (_, indices) in enumerate(chosen):
            expected = case["pc_selected"][event, layer]
            assert (indices + sink_tokens).tolist() == expected[expected >= 0].tolist(), (event, layer)
    for name in sorted(n for n in case.tensors if n.startswith("pc_scores_")):
        event, layer = (int(part.lstrip("evl")) for part in name.split("_")[2:])
        expected = case[name][case[name] > -torch.inf]
        scores = events[event][layer][0]
        error = (scores - expected).abs().max() / expected.std()
        print(f"{case.name} {name}: largest error {error:.2e} of their deviation")
        assert error < 1e-4
