"""The generator's benchmark: its arithmetic against torch's own count, its figures, and a small run of it."""

from __future__ import annotations

import pytest
import torch
from tiny_rollouts import GEOMETRY
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.generator.arithmetic import Model, Work, weight_bytes
from benchmarks.generator.ceilings import Ceilings, measure
from benchmarks.generator.findings import Arm, BlockCost, Findings, Row, verdict
from benchmarks.generator.report import markdown
from benchmarks.generator.runs import ARMS, CONTROL, Bench, Size, memories
from benchmarks.generator.subjects import wan_random
from generator.configs import Geometry

BLOCKS = 4
WAN = Model(
    layers=30,
    dim=1536,
    ffn_dim=8960,
    freq_dim=256,
    text_dim=4096,
    text_tokens=512,
    patch_values=64,
    tokens_per_frame=1560,
    block_frames=3,
    weight_bytes=2_800_000_000,
    kv_itemsize=2,
)


def tiny_subject():
    changes = {"num_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
    return wan_random("cpu", torch.float32, changes, Geometry(height=8, width=8))


def test_operations_are_those_that_torch_counts(tiny) -> None:
    """Whole rollouts: four blocks with 0, 3, 6 and 9 frames of context, five passes each, one prompt."""
    model = tiny.model()
    sizes = Model.of(model.transformer.config, GEOMETRY, 3, tiny.track(1).embeds.shape[1], 0, 4)
    expected = sizes.prompt()
    for context_frames in (0, 3, 6, 9):
        expected += sizes.forward(context_frames).times(5)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        tiny.run("native", BLOCKS)
    assert counter.get_total_flops() == expected.total
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    assert counts["aten.bmm"] == expected.self_attention + expected.cross_attention


def test_a_block_of_wan_at_480p_takes_141_teraflop() -> None:
    """By the sizes of the published model: 11.7 in linear layers and 16.1 in attention, per pass."""
    work = WAN.forward(9)
    assert work.linear == pytest.approx(11.70e12, rel=1e-3)
    assert work.self_attention == pytest.approx(16.15e12, rel=1e-3)
    assert work.times(5).total == pytest.approx(141.5e12, rel=1e-3)


def test_bytes_are_weights_and_whatever_is_attended() -> None:
    keys_and_values = 30 * 2 * (12 * 1560 + 512) * 1536 * 2
    assert WAN.forward_bytes(9) == 2_800_000_000 + keys_and_values
    names = ["blocks.0.attn1.to_k.weight", "blocks.0.attn2.to_q.weight", "proj_out.weight"]
    once = ["blocks.0.attn2.to_k.weight", "condition_embedder.text_embedder.linear_1.weight"]
    assert weight_bytes((name, 8) for name in [*names, *once]) == 24


def test_the_floor_is_the_slower_of_computing_and_moving() -> None:
    ceilings = Ceilings(flops=10.0, bytes=5.0)
    assert ceilings.floor_s(100, 10) == 10
    assert ceilings.floor_s(100, 100) == 20
    assert ceilings.best(Ceilings(20.0, 1.0)) == Ceilings(20.0, 5.0)
    assert min(vars(measure(torch.device("cpu"), torch.float32, 1 << 20)).values()) > 1e6


def block(total: float, context_frames: int = 9, **parts: float) -> BlockCost:
    return BlockCost(
        context_frames=context_frames,
        parts=parts,
        total=total,
        cpu=2 * total,
        host_bytes=8_000_000,
        kept_bytes=0,
    )


def findings(*rag: list[BlockCost]) -> Findings:
    rows = [Row(arm, [[block(7.0, 0), block(100.0, denoise=80.0)]] * len(rag)) for arm in ARMS]
    rows[ARMS.index(Arm("longlive_rag"))].rollouts = list(rag)
    return Findings("made up", "CPU", "float32", 1, WAN, 5, 9, rows, Ceilings(1e16, 1e12))


def test_of_each_block_the_fastest_counts_once_its_context_is_full() -> None:
    slow = [block(1.0, 0), block(130.0, denoise=125.0)]
    fast = [block(50.0, 0), block(104.0, denoise=90.0, recache=10.0, fetch=2.0)]
    found, rag = findings(slow, fast), Arm("longlive_rag")
    row = found.row(rag)
    assert found.block_ms(row) == 104
    assert found.part_ms(row) == {
        "fetch": 2.0,
        "denoise": 90.0,
        "encode": 0.0,
        "recache": 10.0,
        "wait": 0.0,
        "other": 2.0,
    }
    assert found.cost(rag, CONTROL) == pytest.approx(0.04)
    assert found.cpu_cost(rag, CONTROL) == pytest.approx(0.04)
    assert found.paired_cost(rag, CONTROL) == pytest.approx((0.30 + 0.04) / 2)
    assert found.rate(row) == pytest.approx(141.5e12 / 0.1, rel=1e-3)
    assert found.floor_ms() == pytest.approx(1e3 * 5 * WAN.forward_bytes(9) / 1e12)
    assert verdict(0.05) == "met"
    assert verdict(0.051) == "**not met**"


def test_the_report_judges_retrieval() -> None:
    text = markdown(
        findings([block(1.0, 0), block(106.0, denoise=90.0)]), "here", "torch 1", "bench", "today"
    )
    retrieval = text.split("## Retrieval")[1]
    assert "| longlive_rag, embedded | +6.0 % | +6.0 % | +6.0 % | **not met** |" in retrieval
    assert "| longlive_rag, service | +0.0 % | +0.0 % | +0.0 % | met |" in retrieval
    assert "| relative, embedded, again | +0.0 % | +0.0 % | +0.0 % | noise |" in retrieval
    assert "| 8.00 | 0.0 | 0 |" in text


def test_work_adds_up() -> None:
    assert Work(linear=1, rest=2) + Work(linear=3, self_attention=4) == Work(
        linear=4, self_attention=4, rest=2
    )
    assert Work(linear=1, cross_attention=2).times(3).total == 9


@pytest.mark.slow
def test_a_small_wan_runs_through_all_arms(tmp_path) -> None:
    """Every arm fills its context, the one with a service too; only those that retrieve use the host."""
    with memories(tmp_path) as opened:
        found = Bench(tiny_subject(), opened, Size(rounds=1, blocks=9)).run()
    retrieving = {row.arm: row.kept_bytes > 0 for row in found.rows}
    assert retrieving == {arm: arm.method == "longlive_rag" for arm in ARMS}
    for row in found.rows:
        assert len(row.rollouts) == 1
        assert sum(found.part_ms(row).values()) == pytest.approx(found.block_ms(row))
        assert found.block_ms(row) > 0
    assert "| longlive_rag, service |" in markdown(found, "here", "torch 1", "bench", "today")
