"""What a memory has of a pool becomes a corpus: of a data directory, and of a real server with tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from serving import ServerProcess
from torch import Tensor

from encoder.__main__ import main
from encoder.corpus import Corpus
from generator.corpus import taking
from generator.corpus.places import known_places
from generator.history.payloads import payloads
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.memory import Memory
from memory_service.security.token_file import create_token
from memory_service.types import Block, VideoKey, VideoSpec

POOL = "videos"
PROMPT = "a village at night; pan right 2s, pan left 2s"
TOY = {"prompt": PROMPT, "seed": "3", "backbone": "toy", "method": "native", "plan": "{}"}


def latents(video: str, frames: int, shape: tuple[int, ...]) -> Tensor:
    seed = sum(video.encode())
    return torch.randn(frames, *shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def put(
    memory: Memory,
    video: str,
    frames: int,
    shape: tuple[int, ...] = (3, 4, 2),
    start: int = 0,
    **about: str,
) -> Tensor:
    """Append frames [start, frames) of a video of the pool; all its latents."""
    key, made = VideoKey(POOL, video), latents(video, frames, shape)
    spec = VideoSpec(8, "bfloat16", shape, "tests/encoder", about)
    memory.create_video(key, spec)
    rng = np.random.default_rng(frames)
    for first in range(start, frames, 3):
        block = made[first : first + 3]
        embeddings = rng.standard_normal((len(block), 8), np.float32)
        memory.append(key, Block(first, embeddings, {"latent": payloads(block, spec)}))
    return made


def collect(memory: str, out: Path, *words: str, code: int = 0) -> None:
    assert main(["corpus", "pool", "--memory", memory, "--pool", POOL, "--out", str(out), *words]) == code


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(data: Path) -> Iterator[MemoryEngine]:
    """Closed before the command opens the directory: a context of its own, again and again."""
    engine = MemoryEngine(data)
    yield engine
    engine.close()


def test_every_bit_of_every_video(engine: MemoryEngine, data: Path, tmp_path: Path, capsys) -> None:
    made = {"long": put(engine, "long", 100, **TOY), "other": put(engine, "other", 9)}
    put(engine, "short", 7)
    engine.create_video(VideoKey(POOL, "empty"), VideoSpec(8, "bfloat16", (3, 4, 2), "tests/encoder", {}))
    engine.close()
    collect(f"embedded:{data}", tmp_path / "out")
    corpus = Corpus.open(tmp_path / "out")
    assert {video.name: video.dtype for video in corpus.videos} == dict.fromkeys(made, torch.bfloat16)
    for video in corpus.videos:
        assert torch.equal(video.latents(), made[video.name])
    long, other = corpus.videos
    assert {**TOY, "encoder": "tests/encoder"}.items() - {("plan", "{}")} <= long.metadata.items()
    assert "plan" not in long.metadata
    assert torch.equal(long.places(), known_places("toy", PROMPT, 100))
    assert other.places() is None
    printed = capsys.readouterr().out
    assert "left out, under 8 frames: empty" in printed
    assert "left out, under 8 frames: short" in printed
    assert "2 taken, 0 there before" in printed


def test_places_are_not_claimed_where_the_prompt_changes(
    engine: MemoryEngine, data: Path, tmp_path: Path
) -> None:
    put(engine, "turning", 9, **TOY, schedule="{}")
    engine.close()
    collect(f"embedded:{data}", tmp_path / "out")
    assert Corpus.open(tmp_path / "out").videos[0].places() is None


def test_what_was_rolled_back_forked_and_dropped(engine: MemoryEngine, data: Path, tmp_path: Path) -> None:
    """Frames of several epochs, and of a parent that is gone."""
    key = VideoKey(POOL, "trunk")
    trunk = put(engine, "trunk", 30)
    engine.truncate_video(key, 12)
    trunk[12:21] = put(engine, "trunk", 21, start=12)[12:]
    engine.fork_video(key, VideoKey(POOL, "branch"), length=15)
    engine.close()
    collect(f"embedded:{data}", tmp_path / "both")
    again = MemoryEngine(data)
    again.drop_video(key)
    again.close()
    collect(f"embedded:{data}", tmp_path / "one")
    taken = {video.name: video.latents() for video in Corpus.open(tmp_path / "both").videos}
    assert torch.equal(taken["trunk"], trunk[:21])
    assert torch.equal(taken["branch"], trunk[:15])
    (branch,) = Corpus.open(tmp_path / "one").videos
    assert torch.equal(branch.latents(), trunk[:15])


def test_started_again_it_takes_what_has_changed(
    engine: MemoryEngine, data: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    for name in ("grows", "begins anew", "stays"):
        put(engine, name.replace(" ", "-"), 9)
    engine.close()
    collect(f"embedded:{data}", out)
    stays = (out / "stays.safetensors").stat()
    with_more = MemoryEngine(data)
    grown = put(with_more, "grows", 12, start=9)
    with_more.drop_video(VideoKey(POOL, "begins-anew"))
    put(with_more, "begins-anew", 9, about="another")
    with_more.close()
    collect(f"embedded:{data}", out)
    assert "2 taken, 1 there before" in capsys.readouterr().out
    assert (out / "stays.safetensors").stat().st_mtime_ns == stays.st_mtime_ns
    anew, grows, _ = Corpus.open(out).videos
    assert torch.equal(grows.latents()[9:], grown[9:])
    assert anew.metadata["about"] == "another"


def test_a_file_of_another_origin_is_refused(
    engine: MemoryEngine, data: Path, tmp_path: Path, capsys
) -> None:
    put(engine, "a", 9)
    engine.create_pool("theirs", engine.get_pool(POOL).spec)
    engine.close()
    collect(f"embedded:{data}", tmp_path / "out")
    again = MemoryEngine(data)
    again.create_video(VideoKey("theirs", "a"), again.get_video(VideoKey(POOL, "a")).spec)
    spec, made = again.get_video(VideoKey(POOL, "a")).spec, latents("a", 9, (3, 4, 2))
    block = Block(0, np.ones((9, 8), np.float32), {"latent": payloads(made, spec)})
    again.append(VideoKey("theirs", "a"), block)
    again.close()
    collect(f"embedded:{data}", tmp_path / "out", "--pool", "theirs", code=1)
    assert "was not taken of theirs/a; expected another --out" in capsys.readouterr().err


def test_a_video_that_is_dropped_meanwhile_stops_no_other(
    engine: MemoryEngine, data: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the last fetch a video may be dropped, or be shorter than it was."""
    for name in ("a", "b", "c"):
        put(engine, name, 9)
    engine.close()
    fetched = taking.fetched

    def meddle(info, memory, *rest) -> Iterator[Tensor]:
        if info.key.video == "a":
            memory.drop_video(info.key)
        if info.key.video == "b":
            memory.truncate_video(info.key, 3)
        return fetched(info, memory, *rest)

    monkeypatch.setattr(taking, "fetched", meddle)
    collect(f"embedded:{data}", tmp_path / "out")
    assert [video.name for video in Corpus.open(tmp_path / "out").videos] == ["c"]
    printed = capsys.readouterr().out
    assert "left out, dropped or rolled back meanwhile: a" in printed
    assert "left out, dropped or rolled back meanwhile: b" in printed
    assert "1 taken, 0 there before" in printed


def test_videos_of_several_shapes_are_named(engine: MemoryEngine, data: Path, tmp_path: Path, capsys) -> None:
    put(engine, "a", 9)
    put(engine, "b", 9, (3, 8, 8))
    engine.close()
    out = tmp_path / "out"
    collect(f"embedded:{data}", out, code=1)
    assert "videos/a has latents of [3, 4, 2], videos/b of [3, 8, 8]" in capsys.readouterr().err
    assert not out.exists()
    collect(f"embedded:{data}", out, "--videos", "b")
    assert [video.name for video in Corpus.open(out).videos] == ["b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--pool", "nowhere"], "there is no pool nowhere"),
        (["--videos", "a", "nobody"], "nobody"),
        (["--min-frames", "10"], "no video of at least 10 frames"),
    ],
)
def test_what_is_not_there(
    engine: MemoryEngine, data: Path, tmp_path: Path, capsys, words: list[str], expected: str
) -> None:
    put(engine, "a", 9)
    engine.close()
    collect(f"embedded:{data}", tmp_path / "out", *words, code=1)
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path, capsys) -> None:
    collect(f"embedded:{tmp_path / 'none'}", tmp_path / "out", code=1)
    assert "expected the data directory of a memory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_server_that_asks_for_tokens(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """More frames than one call fetches; the writer's token may write, the corpus needs one that may read."""
    tokens = tmp_path / "tokens.json"
    writes = create_token(tokens, "writer", {POOL: ["read", "write"]}).text
    reads = create_token(tokens, "reader", {POOL: ["read"]}).text
    shape = (16, 60, 104)
    with ServerProcess(tmp_path / "data", "127.0.0.1:0", "--tokens-file", str(tokens)) as server:
        memory = MemoryClient(server.address, token=writes)
        made = put(memory, "wan", 93, shape)
        memory.close()
        assert made.nbytes > taking.FETCHED_BYTES
        collect(server.address, tmp_path / "none", code=1)
        assert "token" in capsys.readouterr().err
        monkeypatch.setenv("REVERIE_MEMORY_TOKEN", reads)
        collect(server.address, tmp_path / "out")
    (video,) = Corpus.open(tmp_path / "out").videos
    assert torch.equal(video.latents(), made)
    assert not (tmp_path / "none").exists()
