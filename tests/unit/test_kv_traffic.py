"""Bytes that 30 s of Wan 1.3B would move: the toy's retrievals through tiers of the true sizes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.kv import traces
from benchmarks.kv.traffic import ARMS, WAN, moved, report
from generator.errors import ConfigError, KVBudgetError
from generator.kv.arena import bytes_for
from generator.kv.config import MAX_DEVICE_FRAMES, KVConfig, available_bytes
from generator.options import kv as kv_options

TRACES = traces.read(Path(__file__).parents[1] / "fixtures" / "kv_traces.json")
BUDGET = bytes_for(108, WAN.slab_bytes)


def test_a_frame_has_the_size_of_wan_s() -> None:
    assert WAN.slab_bytes == 287_539_200


@pytest.mark.parametrize("name", TRACES)
def test_exact_mode_moves_a_twentieth_of_what_the_released_code_does(name: str) -> None:
    trace = TRACES[name]
    assert len(trace) == 40
    made = moved(trace, KVConfig(host_bytes=BUDGET, device_frames=MAX_DEVICE_FRAMES))
    assert made.reference_bytes == pytest.approx(283e9, rel=0.01)
    assert made.traffic.to_device_bytes <= 283e9 / 20
    assert made.traffic.to_device_bytes == made.traffic.from_host * WAN.slab_bytes, "each is moved once"
    assert made.traffic.ahead == made.traffic.from_host, "and before its block begins"
    assert made.traffic.retrieved == sum(map(len, trace))
    assert made.traffic.recreated == 0
    assert made.host_bytes <= BUDGET < 35e9


@pytest.mark.parametrize("arm", ARMS)
def test_host_memory_stays_under_every_budget(arm: str) -> None:
    kv = ARMS[arm]
    for trace in TRACES.values():
        made = moved(trace, kv)
        assert made.host_bytes <= (kv.host_bytes or 0)
        assert made.traffic.retrieved == sum(map(len, trace))
        assert (made.traffic.recreated == 0) == (kv.mode == "exact")


def test_exact_mode_refuses_a_budget_that_is_too_small() -> None:
    with pytest.raises(KVBudgetError, match=r"need 34\.4 GB of host memory, 31\.1 GB are allowed"):
        moved(next(iter(TRACES.values())), KVConfig(host_bytes=108 * WAN.slab_bytes))


def test_the_page_has_every_arm_and_every_trace() -> None:
    page = report(TRACES, "command", "machine")
    assert all(page.count(f"| {arm} |") == len(TRACES) for arm in ARMS)
    assert all(f"## {name}\n" in page for name in TRACES)


def parsed(*words: str) -> KVConfig:
    parser = argparse.ArgumentParser(exit_on_error=False)
    kv_options.add_kv(parser)
    return kv_options.config(parser.parse_args(words))


def test_options_make_the_configuration() -> None:
    assert parsed() == KVConfig()
    assert parsed("--kv", "bounded", "--kv-budget", "1.5GiB", "--kv-device-frames", "0") == KVConfig(
        mode="bounded", host_bytes=3 << 29, device_frames=0
    )
    assert parsed("--kv-layout", "alone").layout == "alone"


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("7", 7), ("48GB", 48 * 10**9), ("2 kib", 2048), ("0.5 TB", 5 * 10**11), ("3b", 3)],
)
def test_bytes_have_units(text: str, num_bytes: int) -> None:
    assert kv_options.num_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 GB 2", "1XB", "1e9"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="48GB"):
        kv_options.num_bytes(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "fast"},
        {"layout": "whole"},
        {"host_bytes": -1},
        {"device_frames": -1},
        {"mode": "latent", "host_bytes": 1},
    ],
)
def test_configurations_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        KVConfig(**wrong)


def test_defaults_are_resolved_to_what_the_machine_has() -> None:
    kv = KVConfig().resolved(WAN)
    assert kv.host_bytes is not None
    assert kv.host_bytes <= 0.8 * available_bytes() + (1 << 30)
    assert kv.device_frames == min(MAX_DEVICE_FRAMES, kv.device_frames)
    assert KVConfig(mode="latent").resolved(WAN).host_bytes is None
    assert KVConfig().decisive() == {"mode": "exact"}
    assert set(KVConfig(mode="latent").decisive()) == {"mode", "host_bytes", "device_frames", "layout"}
