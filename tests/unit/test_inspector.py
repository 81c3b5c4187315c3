import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inspector.__main__ import main
from inspector.layout import Layout
from inspector.retrieval_map import attended
from inspector.similarity import cosines
from memory_service.engine import MemoryEngine
from memory_service.types import LATENT, Block, Query, Retrieval, Span, VideoKey, VideoSpec

KEY = VideoKey("films", "take-1")
WINDOW = {"window_frames": "12", "sink_frames": "1", "top_k": "6", "guard_frames": "5", "block_frames": "3"}
SPEC = VideoSpec(4, "float32", (2,), "test/4", {**WINDOW, "latent_fps": "4", "prompt": "a [red] village"})
BLOCKS = 10


def embedding(frame):
    """Frames that are 15 apart look alike; no two are alike to the same degree."""
    angle = 2 * np.pi * frame / 14.8
    return np.array([np.cos(angle), np.sin(angle), 0.1, 0.0], np.float32)


@pytest.fixture
def data(tmp_path):
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(KEY, SPEC)
    for start in range(0, 3 * BLOCKS, 3):
        block = Block(
            start,
            np.stack([embedding(frame) for frame in range(start, start + 3)]),
            {LATENT: [np.full(2, frame, np.float32).tobytes() for frame in range(start, start + 3)]},
        )
        eligible = Span(1, max(1, start + 3 - 16))
        if len(eligible):
            memory.advance(KEY, block, Query(k=6, eligible=eligible))
        else:
            memory.append(KEY, block)
    memory.close()
    return tmp_path / "data"


def inspect(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr()


def test_videos_of_a_pool(data, capsys):
    code, shown = inspect(capsys, "--data", data, "videos", "films", "--json")
    (video,) = json.loads(shown.out)
    assert code == 0
    assert (video["pool"], video["video"], video["length"]) == ("films", "take-1", 30)
    assert video["metadata"]["prompt"] == "a [red] village"


def test_an_empty_pool_is_said_to_be_empty(data, capsys):
    code, shown = inspect(capsys, "--data", data, "videos", "other")
    assert code == 0
    assert "no video in pool other" in shown.out


def test_show_tells_what_each_block_retrieved_and_why(data, capsys):
    code, shown = inspect(capsys, "--data", data, "show", "films/take-1", "--json")
    video = json.loads(shown.out)
    assert code == 0
    last = video["retrievals"][-1]
    assert (last["block"], last["query_frame"], last["eligible"]) == (30, 29, [1, 14])
    scores = [float(embedding(29) @ embedding(f) / (embedding(29) @ embedding(29))) for f in range(1, 14)]
    best = sorted(range(1, 14), key=lambda f: -scores[f - 1])[:6]
    assert last["frames"] == best
    assert last["scores"] == pytest.approx([scores[f - 1] for f in best], abs=1e-5)


def test_tables_name_frames_scores_and_metadata(data, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown = inspect(capsys, "--data", data, "show", "films/take-1")
    assert "30-32" in shown.out
    assert "1-13" in shown.out
    assert "a [red] village" in shown.out
    _, shown = inspect(capsys, "--data", data, "videos", "films")
    assert "take-1" in shown.out
    assert "a [red] village" in shown.out


def test_documents_in_the_metadata_are_shown_by_their_length(tmp_path, capsys):
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(KEY, replace(SPEC, metadata={"plan": "{" + 1234 * "x" + "}"}))
    memory.close()
    _, shown = inspect(capsys, "--data", tmp_path / "data", "show", "films/take-1")
    assert "1,236 characters" in shown.out
    _, told = inspect(capsys, "--data", tmp_path / "data", "show", "films/take-1", "--json")
    assert 1234 * "x" in told.out


@pytest.mark.parametrize("command", ["map", "similarity"])
def test_pictures_are_drawn(data, capsys, tmp_path, command):
    code, _ = inspect(capsys, "--data", data, command, "films/take-1", "--out", tmp_path / "picture.png")
    assert code == 0
    picture = np.asarray(Image.open(tmp_path / "picture.png"))
    assert min(picture.shape[:2]) > 800
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


def test_a_life_of_truncations_forks_and_a_seal(data, capsys, tmp_path, monkeypatch):
    memory = MemoryEngine(data)
    fork = VideoKey("films", "take-2")
    memory.fork_video(KEY, fork, length=15)
    memory.truncate_video(fork, 10)
    rows = np.stack([embedding(frame) for frame in range(10, 13)])
    memory.append(fork, Block(10, rows, {LATENT: [bytes(8)] * 3}))
    memory.seal_video(fork)
    memory.close()
    code, _ = inspect(capsys, "--data", data, "similarity", "films/take-2", "--out", tmp_path / "picture.png")
    assert code == 0
    _, shown = inspect(capsys, "--data", data, "show", "films/take-2", "--json")
    video = json.loads(shown.out)
    assert (video["length"], video["sealed"], video["parent"]["length"]) == (13, True, 15)
    assert video["parent"]["video"] == "take-1"
    monkeypatch.setenv("COLUMNS", "200")
    _, shown = inspect(capsys, "--data", data, "show", "films/take-2")
    assert "15 shared with films/take-1, sealed" in shown.out


def test_inspecting_changes_nothing(data, capsys):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    inspect(capsys, "--data", data, "show", "films/take-1")
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_what_is_not_there_is_an_error_with_a_reason(data, capsys, tmp_path):
    code, shown = inspect(capsys, "--data", data, "show", "films/take-2")
    assert code == 1
    assert "films/take-2" in shown.err
    code, shown = inspect(capsys, "--data", tmp_path / "nowhere", "videos", "films")
    assert code == 1
    assert "nowhere" in shown.err


@pytest.mark.parametrize("words", [["videos"], ["--data", "x", "show", "take-1"], ["--data", "x", "explode"]])
def test_a_wrong_command_line(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: reverie-inspect" in capsys.readouterr().err


def test_the_layout_is_read_from_the_metadata():
    layout = Layout.of(SPEC.metadata)
    assert (layout.sink_frames, layout.local_frames, layout.latent_fps) == (1, 5, 4.0)
    assert Layout.of({"prompt": "p"}) is None


@pytest.mark.parametrize(
    ("start", "sink", "local"),
    [(0, range(0), range(3)), (3, range(1), range(1, 6)), (24, range(1), range(22, 27))],
)
def test_sink_and_local_frames_of_a_block(start, sink, local):
    layout = Layout.of(WINDOW)
    assert range(layout.sink(start).start, layout.sink(start).stop) == sink
    assert range(layout.local(start).start, layout.local(start).stop) == local


def test_the_map_shows_every_attended_frame_once():
    retrieval = Retrieval(KEY, 1, 24, 23, Span(1, 8), 6, "top-k", (7, 2, 5), (0.9, 0.5, 0.4), 10, 0)
    marks = [mark for mark in attended([retrieval], Layout.of(WINDOW)) if mark.block == 24]
    frames = {mark.kind: set() for mark in marks}
    for mark in marks:
        frames[mark.kind] |= set(range(mark.start, mark.stop))
    assert frames == {"retrieved": {7, 2, 5}, "sink": {0}, "local": {22, 23}, "own": {24, 25, 26}}
    assert {mark.start: mark.score for mark in marks if mark.kind == "retrieved"} == {7: 0.9, 2: 0.5, 5: 0.4}


def test_without_a_layout_the_map_shows_retrievals_alone():
    retrieval = Retrieval(KEY, 1, 24, 23, Span(1, 8), 6, "top-k", (7,), (0.9,), 10, 0)
    assert [mark.kind for mark in attended([retrieval], None)] == ["retrieved"]


def test_cosines_ignore_length():
    matrix = cosines(np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]], np.float32))
    assert matrix[0, 1] == 0
    assert matrix.diagonal() == pytest.approx(1)
    assert matrix[0, 2] == pytest.approx(np.sqrt(0.5))
