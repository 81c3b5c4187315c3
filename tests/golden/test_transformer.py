"""Single forwards of the native model: fresh caches with all intermediates, and one cache that is filled and
rolls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from native_runner import NativeRunner
from torch import Tensor

from generator import sampling
from generator.wan.causal_wan import CausalWan
from generator.wan.kv_shape import KEY, VALUE
from generator.wan.rope import axis_dims, phases, rotate


@torch.inference_mode()
def test_fresh_calls(case, make_wan) -> None:
    wan = make_wan(case)
    schedule = sampling.flow_schedule(case.config.timestep_shift)
    for call in (c for c in case.info["calls"] if c["group"] == "fresh"):
        name = f"fresh{call['index']}_"
        x, timestep = case[name + "x"], case[name + "timestep"][0]
        runner = NativeRunner(case, wan, call["frames"])
        with recorded(wan) as seen:
            runner.begin(0, case["prompt_embeds"][call["prompt"]])
            flow = runner.flow(x, timestep)
        case.check(name + "flow", flow)
        case.check(name + "x0", sampling.to_x0(x[0], flow[0], sampling.sigma_at(schedule, timestep))[None])
        parts = case.under(name).keys() - {"x", "timestep", "flow", "x0"}
        assert parts <= seen.keys()
        for part in sorted(parts):
            case.check(name + part, per_frame(seen[part], case[name + part].shape))


@torch.inference_mode()
def test_sequence_with_one_cache(case, make_wan) -> None:
    wan = make_wan(case)
    schedule = sampling.flow_schedule(case.config.timestep_shift)
    runner = NativeRunner(case, wan, case.config.num_frame_per_block)
    tokens = runner.geometry.tokens_per_frame
    for call in (c for c in case.info["calls"] if c["group"] == "seq"):
        name = f"seq{call['index']:02d}_"
        x = case[name + "x"]
        if call["kind"] == "noisy":
            runner.begin(call["current_start"] // tokens, case["prompt_embeds"][call["prompt"]])
        timestep = torch.full(x.shape[1:2], call["timestep"])
        flow = runner.flow(x, timestep)
        case.check(name + "flow", flow)
        case.check(name + "x0", sampling.to_x0(x[0], flow[0], sampling.sigma_at(schedule, timestep))[None])
        assert len(runner.cache.frames) * tokens == call["local_end_after"]
    check_last_layer(case, runner)


def per_frame(actual: Tensor, shape: torch.Size) -> Tensor:
    """Our tensor in the reference's shape, which repeats for every frame what depends on the timestep
    alone."""
    copies = shape.numel() // actual.numel()
    return actual.reshape(1, -1).expand(copies, -1).reshape(shape)


def check_last_layer(case, runner: NativeRunner) -> None:
    """The reference stores keys rotated at their frame number; ours are rotated for the comparison."""
    frames = runner.cache.frames
    slabs = torch.stack([runner.cache.slab(frame)[-1] for frame in frames], dim=1).flatten(1, 2)
    g = runner.geometry
    turn = phases(torch.tensor(frames), g.rows, g.columns, slabs.shape[-1])
    case.check("seq_cache_k_last_layer", rotate(slabs[KEY][None], *turn))
    case.check("seq_cache_v_last_layer", slabs[VALUE][None])


def test_rope_table(case) -> None:
    """Angles of the first positions on each axis, whose columns stand side by side; the reference's table is
    float64, our phases are float32."""
    table = case["rope_freqs_first64"]
    length, head_dim = len(table), 2 * table.shape[1]
    pairs = [dim // 2 for dim in axis_dims(head_dim)]
    along = [
        phases(torch.arange(length), 1, 1, head_dim),
        phases(torch.zeros(1, dtype=torch.long), length, 1, head_dim),
        phases(torch.zeros(1, dtype=torch.long), 1, length, head_dim),
    ]
    columns = [torch.stack(turn, dim=-1).split(pairs, dim=1)[axis] for axis, turn in enumerate(along)]
    torch.testing.assert_close(torch.cat(columns, dim=1).double(), table, atol=1e-7, rtol=0)


@contextlib.contextmanager
def recorded(wan: CausalWan) -> Iterator[dict[str, Tensor]]:
    """Outputs of the stock model's modules under the reference's names."""
    t, seen = wan.transformer, {}
    modules = {
        "time_embedding": t.condition_embedder.time_embedder,
        "time_projection": t.condition_embedder.time_proj,
        "context": t.condition_embedder.text_embedder,
        "head_tokens": t.proj_out,
        "block0_selfattn_out": t.blocks[0].attn1,
        "block0_crossattn_out": t.blocks[0].attn2,
    } | {f"block{i}_out": block for i, block in enumerate(t.blocks)}

    def keep(name: str):
        def hook(_module, _args, output: Tensor) -> None:
            # An empty prompt goes through the text projection in every pass; the real one went first.
            if output.numel():
                seen[name] = output

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    hooks.append(
        t.patch_embedding.register_forward_hook(
            lambda _module, _args, output: seen.update(patch_tokens=output.flatten(2).transpose(1, 2))
        )
    )
    yield seen
    for hook in hooks:
        hook.remove()
