"""Where keys and values were found: from the rollout to its record, its words and its table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from grey import grey_backbone, request_for

from encoder.pooling import AvgPool
from generator.errors import KVBudgetError, PlanError
from generator.kv.config import KVConfig
from generator.kv.traffic import Traffic
from generator.processes.progress import LineMeter
from generator.records.record import RolloutRecord
from generator.report import kv_table, time_table
from generator.requests.generate import generate
from memory_service.engine import MemoryEngine
from memory_service.errors import NotFound
from memory_service.types import VideoKey

LATENT = KVConfig(mode="latent", device_frames=1)


@pytest.fixture(scope="module")
def backbone():
    return grey_backbone()


@pytest.fixture
def memory(tmp_path):
    engine = MemoryEngine(tmp_path / "memory")
    yield engine
    engine.close()


def made(request, backbone, memory):
    (output,) = generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    return output


def test_a_record_has_what_the_tiers_did(tmp_path, backbone, memory) -> None:
    output = made(replace(request_for(tmp_path, "longlive_rag"), kv=LATENT), backbone, memory)
    record = RolloutRecord.read(output.files[-1])
    assert record.settings["kv"] == {
        "mode": "latent",
        "host_bytes": None,
        "device_frames": 1,
        "layout": "block_with_sink",
    }
    assert [block.kv.retrieved for block in record.blocks] == [
        len(block.retrieved) for block in record.blocks
    ]
    assert record.kv.recreated > 0
    assert record.kv == output.record.kv
    spent = [block.parts_ms["recreate"] for block in record.blocks if block.kv.recreated]
    assert min(spent) > 0
    assert all(block.parts_ms["recreate"] <= block.parts_ms["fetch"] for block in record.blocks)
    shown = kv_table.table([record])
    assert shown is not None
    rows = {row[0]: row[1] for row in shown.rows}
    assert rows["re-created"].split()[0] == str(record.kv.recreated)
    assert rows["approximate"].split()[0] == str(record.kv.approximate)
    assert rows["MB to the device"] == "0.0"
    assert "re-create (3)" in {row[0] for row in time_table.table([record]).rows}


def test_settings_say_which_budget_was_taken(tmp_path, backbone, memory) -> None:
    record = made(request_for(tmp_path, "longlive_rag"), backbone, memory).record
    kv = record.settings["kv"]
    assert (kv["mode"], kv["host_bytes"] > 1 << 20, kv["device_frames"]) == ("exact", True, 40)
    assert record.kv.to_host_bytes > 0 == record.kv.recreated


def test_methods_that_retrieve_nothing_have_no_column(tmp_path, backbone, memory) -> None:
    record = made(request_for(tmp_path, "native"), backbone, memory).record
    assert record.kv == Traffic()
    assert kv_table.table([record]) is None


def test_a_budget_that_is_too_small_leaves_nothing_behind(tmp_path, backbone, memory) -> None:
    request = replace(request_for(tmp_path, "longlive_rag"), kv=KVConfig(host_bytes=1))
    with pytest.raises(KVBudgetError):
        made(request, backbone, memory)
    with pytest.raises(NotFound):
        memory.get_video(VideoKey(request.pool, request.video))
    assert not request.out.exists()


def test_a_video_is_resumed_with_what_decided_its_bits(tmp_path, backbone, memory) -> None:
    request = replace(request_for(tmp_path, "longlive_rag"), kv=LATENT)
    made(request, backbone, memory)
    with pytest.raises(PlanError, match=r"config\.kv\.device_frames is 2; expected 1"):
        made(replace(request, resume=True, kv=replace(LATENT, device_frames=2)), backbone, memory)


def test_in_exact_mode_only_that_has_to_agree(tmp_path, backbone, memory) -> None:
    request = request_for(tmp_path, "longlive_rag")
    first = made(request, backbone, memory)
    latents = first.files[1].read_bytes()
    kv = KVConfig(host_bytes=1 << 30, device_frames=0)
    again = made(replace(request, resume=True, kv=kv), backbone, memory)
    assert again.files[1].read_bytes() == latents


def test_words_say_where_frames_were_found() -> None:
    parts = [
        Traffic(in_slots=2, from_host=1, to_device_bytes=10**9, recreated=3, recreation_ms=1500),
        Traffic(from_device=4, to_host_bytes=25 * 10**8, approximate=5),
    ]
    assert Traffic.total(parts).words() == (
        "K/V of 10 retrieved frames: 2 in place, 4 on the device, 1 on the host, 3 re-created, "
        "5 of them approximate; "
        "1 GB to the device, 2.5 GB back; re-creation 1.5 s"
    )
