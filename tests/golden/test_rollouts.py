"""Whole rollouts of every method that the reference data has, through the engine and through a server."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_caches import check_cache, check_choices
from torch import Tensor

from encoder.checkpoint import from_weights, published_config
from encoder.model import Encoder
from encoder.pooling import AvgPool
from generator.block_sampler import BlockSampler
from generator.configs import Geometry, Sampling, Window
from generator.history.history import History, video_spec
from generator.kv import token_slots
from generator.kv.host_tier import HostTier
from generator.methods import POLICIES
from generator.methods.context import Policy, Scenes, eligible
from generator.methods.deep_forcing import DeepForcing
from generator.methods.infinity_rope import CUT_POSITIONS
from generator.noise import BlockNoise
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from generator.sampling import flow_schedule, pass_timesteps
from generator.story.text import PromptTrack
from generator.wan.kv_shape import KEY, VALUE
from memory_service.types import Query, VideoKey

KEY_OF_VIDEO = VideoKey("golden", "video")


class RecordedNoise:
    """The noise that the reference drew."""

    def __init__(self, case, block_frames: int) -> None:
        self._initial = case["noise_init"][0].split(block_frames)
        self._renoise = case["renoise"]

    def block(self, index: int) -> BlockNoise:
        return BlockNoise(self._initial[index], self._renoise[index])


class Recorder:
    """Stands before a model and keeps the flow of every pass."""

    def __init__(self, model) -> None:
        self._model = model
        self.flows: list[Tensor] = []

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def flow(self, *args) -> Tensor:
        self.flows.append(self._model.flow(*args))
        return self.flows[-1]


@pytest.fixture(params=["fused", "apart"])
def fused(request: pytest.FixtureRequest) -> bool:
    """Append and search as one call, or as two."""
    return request.param == "fused"


@pytest.fixture
def samplers(monkeypatch) -> list[BlockSampler]:
    """Every sampler that a rollout makes: keys and values stay there to be looked at."""
    made: list[BlockSampler] = []

    def make(*args) -> BlockSampler:
        made.append(BlockSampler(*args))
        return made[-1]

    monkeypatch.setattr("generator.rollout.BlockSampler", make)
    return made


@pytest.fixture
def choices(monkeypatch) -> list[tuple[Tensor, Tensor]]:
    """Scores of the candidates and indices chosen, per compression and layer."""
    made: list[tuple[Tensor, Tensor]] = []

    def choose(scores: Tensor, *args) -> Tensor:
        made.append((scores, token_slots_best(scores, *args)))
        return made[-1][1]

    token_slots_best = token_slots.best
    monkeypatch.setattr(token_slots, "best", choose)
    return made


def test_rollout(case, make_wan, memory, fused, samplers, choices) -> None:
    config, encoder = rollout_config(case), make_encoder(case)
    wan, host = Recorder(make_wan(case)), HostTier()
    num_blocks = len(case["renoise"])
    track = prompt_track(case)
    noise = RecordedNoise(case, config.window.block_frames)
    spec = video_spec(encoder, config.geometry.latent_shape, torch.float32)
    with History(memory, KEY_OF_VIDEO, spec, fused=fused) as history:
        blocks = list(rollout(wan, config, track, noise, encoder, history, host))

    check_calls(case, wan.flows)
    case.check("latents", torch.cat([block.latents for block in blocks]).unsqueeze(0))
    case.check("denoising_steps", pass_timesteps(config.sampling, flow_schedule(config.sampling.shift)))
    passes = len(config.sampling.steps) + 1
    for name in sorted(n for n in case.tensors if n.startswith("trace_b")):
        index = int(name.removeprefix("trace_b").removesuffix("_flow"))
        case.check(name, torch.stack(wan.flows[index * passes : (index + 1) * passes]))
    assert memory.get_video(KEY_OF_VIDEO).state.length == num_blocks * config.window.block_frames
    if "cache_k_last_layer" in case:
        check_cache(case, config, samplers[0], blocks[-1].context)
    if "pc_block" in case:
        check_choices(case, config, choices)
    if config.policy.retrieves:
        check_retrieval(case, config.window, blocks, memory)
        check_descriptors(case, blocks)
        check_pool(case, config.window, blocks, history, host)


def rollout_config(case) -> RolloutConfig:
    """Our configuration out of the reference's."""
    pipeline, geometry = SimpleNamespace(**case.config.pipeline), SimpleNamespace(**case.config.geometry)
    kwargs = pipeline.model_kwargs
    return RolloutConfig(
        policy=policy_of(case),
        geometry=Geometry(
            channels=geometry.latent_channels,
            height=geometry.latent_h,
            width=geometry.latent_w,
            patch=tuple(case.config.model["patch_size"]),
        ),
        window=Window(
            window_frames=kwargs["local_attn_size"],
            sink_frames=kwargs["sink_size"],
            top_k=kwargs.get("memory_size", 0),
            guard_frames=kwargs.get("recent_exclude", 0),
            block_frames=pipeline.num_frame_per_block,
        ),
        sampling=Sampling(
            steps=tuple(pipeline.denoising_step_list),
            shift=kwargs["timestep_shift"],
            warped=pipeline.warp_denoising_step,
            context_timestep=float(pipeline.context_noise),
        ),
    )


def policy_of(case) -> Policy:
    kwargs = case.config.pipeline["model_kwargs"]
    if case.name == "infinity_rope_rollout":
        cut = case.config.rope_cut
        first = cut["transition_from"]
        assert tuple(range(first, first + cut["transition_frames"])) == CUT_POSITIONS
        return POLICIES["infinity_rope"]
    if case.name == "deep_forcing_rollout":
        if kwargs["is_ds_only"]:
            return POLICIES["deep_sink"]
        compression = case.config.participative_compression
        assert (compression["fusion"], compression["keep_sinks"]) == ("sum", True)
        return DeepForcing(
            "deep_forcing",
            budget_frames=kwargs["budget"],
            recent_frames=kwargs["recent"],
            reuse_limit=compression["topc_max_reuse"] or None,
        )
    return POLICIES["longlive_rag" if kwargs.get("use_latentmem") else "native"]


def prompt_track(case) -> PromptTrack:
    """The prompt of each block, and where another one begins."""
    num_blocks = len(case["renoise"])
    if "block_scene" not in case:
        return PromptTrack(embeds=case["prompt_embeds"], rows=(0,) * num_blocks)
    scenes = Scenes(
        switches=frozenset(case["block_flush"].nonzero().flatten().tolist()),
        cuts=frozenset(case["block_cut"].nonzero().flatten().tolist()),
    )
    return PromptTrack(embeds=case["prompt_embeds"], rows=tuple(case["block_scene"].tolist()), scenes=scenes)


def make_encoder(case) -> Encoder:
    kind = case.config.pipeline["model_kwargs"].get("compression_method", "avg_pool")
    if kind == "avg_pool":
        return AvgPool(case.config.geometry["latent_channels"])
    assert kind == "ae", f"no encoder for {kind!r}"
    return from_weights(published_config(case.config.ae), case.under("ae."))


def check_calls(case, flows: list[Tensor]) -> None:
    """One call per pass, with the reference's statistics: says where a rollout first goes astray."""
    calls, atol = case.info["calls"], case.info["tolerance"]["suggested_atol"]
    assert len(flows) == len(calls)
    for call, flow in zip(calls, flows, strict=True):
        where = f"block {call['block']} call {call['call']}"
        assert flow.double().std(correction=0).item() == pytest.approx(call["flow_std"], abs=atol), where
        assert flow.double().mean().item() == pytest.approx(call["flow_mean"], abs=atol), where


def check_retrieval(case, window: Window, blocks: list[RolledBlock], memory) -> None:
    """Frames that were eligible and chosen, their scores, and the scores of all that were not."""
    atol = case.info["tolerance"]["similarity_atol"]
    largest = 0.0
    for index, block in enumerate(blocks):
        span = eligible(window, block.span)
        assert len(span) == case["mem_num_eligible"][index], f"block {index}"
        assert max(0, block.span.start - window.window_frames) == case["mem_num_evicted"][index]
        chosen = case["mem_selected_global"][index]
        expected = dict(zip(chosen.tolist(), case["mem_selected_sims"][index].tolist(), strict=True))
        expected.pop(-1, None)
        actual = {hit.handle.frame: hit.score for hit in block.hits}
        assert actual == pytest.approx(expected, abs=atol), f"block {index}"
        scores = [hit.score for hit in block.hits]
        assert scores == sorted(scores, reverse=True)
        largest = max([largest, *(abs(actual[frame] - expected[frame]) for frame in actual)])
        if len(span):
            query = Query(k=len(span), eligible=span, frame=block.span.start - 1)
            (hits,) = memory.search(KEY_OF_VIDEO, [query], log=False).hits
            by_frame = [hit.score for hit in sorted(hits, key=lambda hit: hit.handle.frame)]
            np.testing.assert_allclose(by_frame, case["mem_all_sims"][index, : len(span)], atol=atol)
    print(f"{case.name} mem_selected_sims: largest error {largest:.2e}, atol {atol:.0e}")
    logged = memory.retrievals(KEY_OF_VIDEO)
    assert [r.frames for r in logged] == [tuple(h.handle.frame for h in b.hits) for b in blocks if b.hits]


def check_descriptors(case, blocks: list[RolledBlock]) -> None:
    """Ours have unit norm; the reference's avg-pool descriptors are compared by their direction."""
    embeddings = torch.cat([block.embeddings for block in blocks])
    case.tensors["directions"] = torch.nn.functional.normalize(case["descriptors"], dim=-1)
    case.check("directions", embeddings)


def check_pool(case, window: Window, blocks: list[RolledBlock], history: History, host: HostTier) -> None:
    """Keys and values of evicted frames: clean, un-rotated, and of the frame that the reference says."""
    assert len(host) == case.info["memory_info"]["pool_frames_at_end"]
    frame_bytes = host.bytes // max(1, len(host))  # a rollout within the window evicts nothing
    for call in case.info["calls"]:
        assert blocks[call["block"]].host_bytes == call["pool_frames_after"] * frame_bytes
    for name in sorted(n for n in case.tensors if n.startswith("pool_")):
        _, kind, layer, frame = name.split("_")
        slab = host.get(history.handle(window.sink_frames + int(frame[1:])))
        part = slab[int(layer[1:]), {"k": KEY, "v": VALUE}[kind]]
        case.check(name, part[None, None])
