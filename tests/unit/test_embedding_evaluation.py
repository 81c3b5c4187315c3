"""`reverie-encoder evaluate`: toy worlds, real latents and real video in; tables, figures and numbers out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from encoder import checkpoint
from encoder.__main__ import main
from encoder.corpus import write_video
from encoder.evaluation.geometry import effective_rank
from encoder.evaluation.study import measure
from encoder.evaluation.subjects import open_videos
from encoder.evaluation.window import Window
from encoder.model import LatentAE, LatentAEConfig
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS
from generator.toy.prompts import Scene
from generator.toy.world import paint

ROOT = Path(__file__).parents[2]
WAN = ROOT / "tests" / "fixtures" / "media" / "wan21_latents.safetensors"
CELLS = np.array([*range(30), *range(28, -1, -1), *range(1, 20)])
NAMES = ("evaluation.md", "embeddings.csv", "retrieval.csv", "evaluation.json", "cosine_by_lag.png")


def pan(seed: int) -> Tensor:
    """Latents [78, 16, 8, 8] of a camera that goes, returns, and goes again."""
    rng = np.random.default_rng(seed)
    world = paint(Scene.sample(rng), int(CELLS.max()) + 8, rng)
    codec = ToyCodec.load(WEIGHTS / "codec.safetensors")
    latents = codec.encode(np.stack([world.view(int(cell), i % 2) for i, cell in enumerate(CELLS)]))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    return (latents + 0.1 * noise).bfloat16()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos; of the last nobody knows the places."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed in range(3):
        places = torch.from_numpy(CELLS) if seed < 2 else None
        write_video(folder / f"pan{seed}.safetensors", pan(seed), {"view_cells": "8"}, places)
    return folder


def rows(path: Path, *labels: str) -> dict[tuple[str, ...], dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {tuple(row[label] for label in labels): row for row in csv.DictReader(file)}


def evaluate(*arguments: Path | str) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def evaluated(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    toy = f"toy={WEIGHTS / 'encoder.safetensors'}"
    assert evaluate("--corpus", corpus, "--encoder", "avg-pool", "--encoder", toy, "--out", out) == 0
    return out


def test_every_row_is_there_with_its_intervals(evaluated: Path) -> None:
    found = rows(evaluated / "retrieval.csv", "retrieval", "policy")
    policies = [(name, policy) for name in ("avg-pool", "toy") for policy in ("top-k", "gap=2", "mmr=0.5")]
    controls = [("random", ""), ("recent", ""), ("nearest-place", ""), ("oracle", "")]
    assert list(found) == [*controls[:2], *policies, *controls[2:]]
    for row in found.values():
        assert row["recall_at_k_videos"] == "2"
        for name in ("recall_at_k", "coverage", "spread_frames", "redundancy"):
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
    assert found["random", ""]["spread_frames_videos"] == "3", "spread needs no truth"
    assert found["oracle", ""]["spread_frames_videos"] == "2", "the oracle does"


def cosine_at(encoder: LatentAE, seed: int, lag: int) -> float:
    """Mean cosine of frames of one pan that are `lag` apart."""
    embeddings = encoder.encode(pan(seed)).double()
    return float((embeddings[:-lag] * embeddings[lag:]).sum(-1).mean())


def test_numbers_rank_what_is_known_to_be_better(evaluated: Path) -> None:
    found = rows(evaluated / "retrieval.csv", "retrieval", "policy")

    def number(name: str, *row: str) -> float:
        return float(found[row][name])

    toy = number("recall_at_k", "toy", "top-k")
    assert toy > 0.2 + max(number("recall_at_k", control, "") for control in ("random", "recent"))
    assert number("recall_at_k", "nearest-place", "") == 1
    assert number("coverage", "oracle", "") == 1
    assert number("coverage", "recent", "") < number("coverage", "toy", "mmr=0.5")
    assert number("near_duplicates", "toy", "mmr=0.5") < number("near_duplicates", "toy", "top-k")
    embeddings = rows(evaluated / "embeddings.csv", "embedding")
    encoder = checkpoint.load(WEIGHTS / "encoder.safetensors")
    near, far = ([cosine_at(encoder, seed, lag) for seed in range(3)] for lag in (1, 24))
    drops = np.subtract(near, far)
    assert float(embeddings["toy",]["drop_to_lag_24"]) == pytest.approx(np.mean(drops), abs=1e-5)
    assert (1 - np.array(far) > 1.5 * (1 - np.array(near))).all(), "unlike by how far apart, at any scale"
    assert drops.min() > 0.002, "scores tell frames apart in the digits that are shown"
    assert float(embeddings["toy",]["times_floor"]) > 1


def test_the_record_has_each_video(evaluated: Path) -> None:
    record = json.loads((evaluated / "evaluation.json").read_text())
    assert record["videos"] == [{"name": f"pan{seed}", "frames": 78} for seed in range(3)]
    toy = record["embeddings"][1]
    model = checkpoint.load(WEIGHTS / "encoder.safetensors")
    assert toy["encoder"] == model.encoder_id
    assert [numbers["effective_rank"] for numbers in toy["numbers"]] == pytest.approx(
        [effective_rank(model.encode(pan(seed)).numpy()) for seed in range(3)], rel=1e-4
    )
    assert record["retrieval"][-1]["numbers"][2] == {}, "no truth, no oracle"


def test_the_page_says_what_it_shows(evaluated: Path) -> None:
    page = (evaluated / "evaluation.md").read_text()
    assert "3 videos of 78 frames" in page
    assert "Places are known of 2" in page
    for name in ("cosine_by_lag.png", "retrieval.png", "similarity.png"):
        assert f"]({name})" in page
        picture = imread(evaluated / name)
        assert picture[..., :3].std() > 0.05, "something is drawn"
    assert not list(evaluated.glob("*.new"))


def test_choices_are_the_same_in_every_run(corpus: Path, evaluated: Path, tmp_path: Path) -> None:
    toy = f"toy={WEIGHTS / 'encoder.safetensors'}"
    assert evaluate("--corpus", corpus, "--encoder", "avg-pool", "--encoder", toy, "--out", tmp_path) == 0
    assert (tmp_path / "retrieval.csv").read_bytes() == (evaluated / "retrieval.csv").read_bytes()


def test_matrices_are_drawn_of_a_video_whose_truth_is_known(corpus: Path) -> None:
    videos = open_videos([corpus])
    example = measure(videos[::-1], {}, [], Window()).example
    assert example is not None
    assert example.name == "pan1", "of pan2, the first, nobody knows the places; pan0 comes after it"


def test_real_latents_are_measured_as_far_as_they_go(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint.save(LatentAE(LatentAEConfig(height=40, width=64)).eval(), tmp_path / "ae.safetensors")
    encoders = ("--encoder", "avg-pool", "--encoder", "row-pool", "--encoder", tmp_path / "ae.safetensors")
    assert evaluate("--corpus", WAN, *encoders, "--out", tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "embeddings.csv", "embedding")["row-pool",]["dimension"] == str(16 * 40)
    row = rows(tmp_path / "out" / "embeddings.csv", "embedding")["ae",]
    assert 0 < float(row["cosine_lag_1"]) < 1
    assert row["cosine_lag_1_low"] == "", "of one video there is no interval"
    assert row["drop_to_lag_24"] == ""
    page = (tmp_path / "out" / "evaluation.md").read_text()
    assert "No video is long enough to retrieve anything" in page
    assert not rows(tmp_path / "out" / "retrieval.csv", "retrieval")
    assert "retrieval.png" not in page


def test_a_video_file_is_read_as_pixels(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "grey.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(120):
            shades = np.full((48, 64, 3), 2 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shades, format="rgb24")))
        file.mux(stream.encode())
    assert evaluate("--corpus", tmp_path / "grey.mp4", "--out", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["videos"] == [{"name": "grey.mp4", "frames": 30}]
    assert record["embeddings"][0]["dimension"] == 3
    page = (tmp_path / "out" / "evaluation.md").read_text()
    assert "Pixels of decoded video, not latents" in page
    assert "No places are known" in page
    found = rows(tmp_path / "out" / "retrieval.csv", "retrieval", "policy")
    assert ("oracle", "") not in found
    assert found["avg-pool", "top-k"]["coverage"] == ""
    assert float(found["avg-pool", "gap=2"]["extent_frames"]) >= float(found["recent", ""]["extent_frames"])


@pytest.mark.parametrize("name", ["native_1.mp4", "native_ours_1.mp4"])
def test_videos_of_the_reference_are_read(name: str, tmp_path: Path) -> None:
    path = ROOT.parent / "shared" / "media" / name
    if not path.is_file():
        pytest.skip(f"{name} of the reference system is not beside the project")
    assert evaluate("--corpus", path, "--out", tmp_path) == 0
    row = rows(tmp_path / "embeddings.csv", "embedding")["avg-pool",]
    assert float(row["cosine_lag_1"]) > float(row["cosine_lag_3"])


def broken(corpus: Path, tmp_path: Path, what: str) -> list[Path | str]:
    """Arguments that cannot be, and are told as such."""
    small = LatentAE(LatentAEConfig(height=4, width=4, embedding_dim=8, hidden_dims=(16,)))
    checkpoint.save(small, tmp_path / "small.safetensors")
    for name, metadata in (("untold", {}), ("wrong", {"view_cells": "wide"})):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name / "a.safetensors", pan(0), metadata, torch.from_numpy(CELLS))
    (tmp_path / "no.mp4").write_bytes(b"no video")
    out = ["--out", tmp_path / "out"]
    return {
        "no corpus": ["--corpus", tmp_path / "nowhere", *out],
        "no video": ["--corpus", tmp_path / "no.mp4", *out],
        "mixed shapes": ["--corpus", corpus, "--corpus", WAN, *out],
        "no checkpoint": ["--corpus", corpus, "--encoder", tmp_path / "nothing.safetensors", *out],
        "other shape": ["--corpus", corpus, "--encoder", tmp_path / "small.safetensors", *out],
        "name twice": ["--corpus", corpus, "--encoder", "avg-pool", "--encoder", "avg-pool", *out],
        "name of a control": ["--corpus", corpus, "--encoder", "oracle=avg-pool", *out],
        "view untold": ["--corpus", tmp_path / "untold", *out],
        "view wrong": ["--corpus", tmp_path / "wrong", *out],
        "window": ["--corpus", corpus, "--top-k", "20", *out],
    }[what]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no corpus", "nowhere"),
        ("no video", "cannot be read as a video"),
        ("mixed shapes", "one shape"),
        ("no checkpoint", "is not a file"),
        ("other shape", "reads latents of [16, 4, 4], the corpus has [16, 8, 8]"),
        ("name twice", "'avg-pool'"),
        ("name of a control", "'oracle'"),
        ("view untold", "view_cells = ''"),
        ("view wrong", "view_cells = 'wide'"),
        ("window", "exceeds window_frames"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, told: str
) -> None:
    assert evaluate(*broken(corpus, tmp_path, what)) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("reverie-encoder: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
