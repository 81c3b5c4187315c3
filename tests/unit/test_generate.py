import json
from dataclasses import replace

import pytest
import torch
from grey import PROMPT, grey_backbone, request_for
from safetensors.torch import load_file

from encoder.pooling import AvgPool
from generator.errors import ConfigError, HistoryNotEmptyError
from generator.processes.progress import LineMeter
from generator.records.record import RolloutRecord
from generator.records.video import read_frames
from generator.report.side_by_side import PANEL
from generator.requests.generate import drop, generate, write_side_by_side
from generator.story.schedule import Schedule, Turn
from generator.story.switching import Switching
from memory_service.engine import MemoryEngine
from memory_service.types import VideoKey


@pytest.fixture(scope="module")
def backbone():
    return grey_backbone()


@pytest.fixture
def memory(tmp_path):
    engine = MemoryEngine(tmp_path / "memory")
    yield engine
    engine.close()


def test_one_rollout_leaves_video_latents_and_record(tmp_path, backbone, memory):
    lines = []
    (output,) = generate(
        request_for(tmp_path, "native"), backbone, AvgPool(16), memory, LineMeter(lines.append)
    )
    video, latents, record = output.files
    assert {path.name for path in output.files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert video.name == "village.mp4", "the only method bears the video's own name"
    assert len(list(read_frames(video))) == 2 * 27 - 1
    assert load_file(latents)["latents"].shape == (27, 16, 8, 8)
    assert RolloutRecord.read(record) == output.record
    assert output.record.fps == 8.0
    assert output.record.num_frames == 27
    assert lines[-1] == "village: done"


def test_the_record_has_the_hits_of_each_block(tmp_path, backbone, memory):
    (output,) = generate(
        request_for(tmp_path, "longlive_rag"), backbone, AvgPool(16), memory, LineMeter(lambda _: None)
    )
    log = {logged.length: logged for logged in memory.retrievals(VideoKey("films", "village"))}
    assert sorted(log) == [18, 21, 24]
    for block in output.record.blocks:
        if block.start in log:
            assert tuple(hit.frame for hit in block.retrieved) == log[block.start].frames
            assert tuple(hit.score for hit in block.retrieved) == pytest.approx(log[block.start].scores)
        else:
            assert block.retrieved == ()
    searched = {block.stop: block.parts_ms["service_search"] for block in output.record.blocks}
    assert all(searched[length] == log[length].search_us / 1000 for length in log)


def test_the_memory_is_told_how_the_video_was_made(tmp_path, backbone, memory):
    changes = {"window_frames": 9, "top_k": 3, "guard_frames": 2}
    generate(
        request_for(tmp_path, "longlive_rag", "native", num_frames=6, **changes),
        backbone,
        AvgPool(16),
        memory,
        LineMeter(lambda _: None),
    )
    rag, native = (memory.get_video(VideoKey("films", name)).spec for name in ("village", "village-native"))
    assert rag.metadata["prompt"] == PROMPT
    assert (rag.metadata["window_frames"], rag.metadata["top_k"]) == ("9", "3")
    assert (native.metadata["method"], native.metadata["top_k"]) == ("native", "0")
    assert rag.latent_shape == (16, 8, 8)


def test_several_methods_can_be_played_in_step(tmp_path, backbone, memory):
    request = request_for(tmp_path, "relative", "native", num_frames=6)
    outputs = generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    path = write_side_by_side(request, outputs)
    frames = list(read_frames(path))
    assert path.name == "village.side_by_side.mp4"
    assert len(frames) == 11
    assert frames[0].shape[1] > 2 * PANEL


def test_a_video_that_is_there_is_not_written_over(tmp_path, backbone, memory):
    request = request_for(tmp_path, "native", num_frames=3)
    generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    before = (tmp_path / "out" / "village.json").read_text()
    with pytest.raises(HistoryNotEmptyError):
        generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    assert (tmp_path / "out" / "village.json").read_text() == before
    assert len(list(read_frames(tmp_path / "out" / "village.mp4"))) == 5


def test_a_dropped_video_can_be_made_again(tmp_path, backbone, memory):
    request = request_for(tmp_path, "native", "relative", num_frames=3)
    for _ in range(2):
        drop(request, memory)
        generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    assert len(memory.list_videos("films")) == 2


@pytest.mark.parametrize("num_frames", [0, 2, 25])
def test_only_whole_blocks_are_generated(tmp_path, num_frames):
    with pytest.raises(ValueError, match="multiple of 3"):
        request_for(tmp_path, "native", num_frames=num_frames)


NIGHT = Turn(block=5, prompt="a winter castle at night", asked_s=4.0, cut=True)


def test_record_and_memory_know_the_story(tmp_path, backbone, memory):
    switching = Switching(old_history="fade", fade=0.5)
    request = request_for(tmp_path, "longlive_rag", num_frames=48)
    request = replace(request, turns=(NIGHT,), switching=switching)
    (output,) = generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    record = RolloutRecord.read(output.files[2])
    assert record == output.record
    assert record.turns == (NIGHT,)
    assert record.settings["switching"] == {
        "at_switch": "recache",
        "recache_sink": False,
        "old_history": "fade",
        "fade": 0.5,
    }
    metadata = memory.get_video(VideoKey("films", "village")).spec.metadata
    assert Schedule.from_json(json.loads(metadata["schedule"])) == request.schedule
    assert Switching(**json.loads(metadata["switching"])) == switching
    searched = [block.parts_ms["service_search"] for block in record.blocks]
    logged = [logged.search_us / 1000 for logged in memory.retrievals(VideoKey("films", "village"))]
    assert sum(searched) == pytest.approx(sum(logged)), "two searches of one block count both"
    assert len(logged) > sum(bool(block.retrieved) for block in record.blocks)


def test_a_switch_changes_the_video_from_its_block_on_and_nothing_before(tmp_path, backbone, memory):
    plain = request_for(tmp_path, "relative", "infinity_rope", num_frames=24)
    turned = replace(plain, turns=(NIGHT,), video="castle")
    for request in (plain, turned):
        generate(request, backbone, AvgPool(16), memory, LineMeter(lambda _: None))
    for method in plain.methods:
        made = [
            load_file(tmp_path / "out" / f"{request.name(method)}.latents.safetensors")["latents"]
            for request in (plain, turned)
        ]
        same = [torch.equal(*frames) for frames in zip(*made, strict=True)]
        assert same == [True] * 15 + [False] * 9, method


def test_a_prompt_without_words_is_refused_before_anything_is_made(tmp_path, backbone, memory):
    toy = replace(backbone, name="toy")
    request = replace(request_for(tmp_path, "native"), turns=(replace(NIGHT, prompt="a spaceship"),))
    with pytest.raises(ValueError, match="spaceship"):
        generate(request, toy, AvgPool(16), memory, LineMeter(lambda _: None))
    assert memory.list_videos("films") == []


def test_what_one_of_several_methods_cannot_do_is_refused_before_the_first(tmp_path, backbone, memory):
    request = request_for(tmp_path, "native", "infinity_rope")
    with pytest.raises(ConfigError, match="infinity_rope can flush or keep"):
        generate(
            replace(request, switching=Switching(at_switch="recache")),
            backbone,
            AvgPool(16),
            memory,
            LineMeter(lambda _: None),
        )
    assert memory.list_videos("films") == []


class Watcher(LineMeter):
    """Looks into the video file after every block."""

    def __init__(self, path):
        super().__init__(lambda _: None)
        self.path, self.seen, self.made = path, [], 0

    def advance(self, name, frames):
        super().advance(name, frames)
        self.made += frames
        self.seen.append((self.made, len(list(read_frames(self.path)))))


def test_the_video_can_be_watched_while_it_is_made(tmp_path, backbone, memory):
    watcher = Watcher(tmp_path / "out" / "village.mp4")
    generate(request_for(tmp_path, "native"), backbone, AvgPool(16), memory, watcher)
    assert len(watcher.seen) == 9
    for made, seen in watcher.seen:
        assert seen == 2 * made - 1 - 1, "all pixel frames but the last"
