"""A corpus of latents on disk: what is written comes back, and what is none is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from encoder.corpus import Corpus, CorpusError, describe, write_video

WAN = Path(__file__).parents[1] / "fixtures" / "media" / "wan21_latents.safetensors"
ABOUT = {"prompt": "a harbour; hold 3s", "view_cells": "8"}


def latents(frames: int = 6, dtype: torch.dtype = torch.float32, side: int = 4) -> Tensor:
    return torch.randn(frames, 3, side, side, generator=torch.Generator().manual_seed(frames)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_video_comes_back_bit_by_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    places = torch.tensor([0, 1, 2, 1, 0, -1])
    write_video(tmp_path / "harbour.safetensors", latents(dtype=dtype), ABOUT, places)
    corpus = Corpus.open(tmp_path)
    (video,) = corpus.videos
    assert (video.name, video.num_frames, video.latent_shape) == ("harbour", 6, (3, 4, 4))
    assert (video.dtype, video.metadata, video.has_places) == (dtype, ABOUT, True)
    assert video.num_bytes == 6 * 48 * dtype.itemsize
    assert video.latents().dtype == dtype
    assert torch.equal(video.latents(), latents(dtype=dtype))
    assert torch.equal(video.latents(2, 5), latents(dtype=dtype)[2:5])
    assert torch.equal(video.places(), places)


def test_equal_videos_have_equal_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(ABOUT.items()))
    write_video(tmp_path / "a.safetensors", latents(), ABOUT, torch.arange(6))
    write_video(tmp_path / "b.safetensors", latents(), backwards, torch.arange(6))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_videos_of_several_folders_by_name(tmp_path: Path) -> None:
    for folder, name in (("one", "c"), ("one", "a"), ("two", "b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_video(tmp_path / folder / f"{name}.safetensors", latents(), {})
    corpus = Corpus.open([tmp_path / "two", str(tmp_path / "one")])
    assert [video.name for video in corpus.videos] == ["a", "b", "c"]
    assert (corpus.latent_shape, corpus.num_frames) == ((3, 4, 4), 18)
    assert corpus.videos[0].places() is None
    assert [video.name for video in Corpus.open(tmp_path / "one" / "c.safetensors").videos] == ["c"]


@pytest.mark.parametrize("frames", [1, 90])
def test_latents_of_the_reference(tmp_path: Path, frames: int) -> None:
    torch.save(latents(frames, torch.bfloat16), tmp_path / "latent_00007.pt")
    torch.save({"epoch": 1}, tmp_path / "ae_latent_mem.pt")
    (video,) = Corpus.open(tmp_path).videos
    assert (video.name, video.num_frames, video.dtype) == ("latent_00007", frames, torch.bfloat16)
    assert torch.equal(video.latents(frames - 1), latents(frames, torch.bfloat16)[frames - 1 :])
    assert video.places() is None


def test_what_a_rollout_leaves(tmp_path: Path) -> None:
    about = {"video": json.dumps({"prompt": "a forest", "seed": "3"})}
    save_file({"latents": latents()}, tmp_path / "forest-s3.latents.safetensors", about)
    (video,) = Corpus.open(tmp_path).videos
    assert (video.name, video.metadata["seed"]) == ("forest-s3", "3")


def test_real_latents_that_have_their_channels_first() -> None:
    video = describe(WAN)
    assert (video.num_frames, video.latent_shape) == (16, (16, 40, 64))
    assert "taehv" in video.metadata["source"]
    steps = (video.latents()[1:] - video.latents()[:-1]).float().norm() / video.latents().float().norm()
    assert steps < 1, "neighbouring frames of a real video are alike"
    assert torch.equal(video.latents(3, 5), video.latents()[3:5])


def test_shapes_that_differ_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.safetensors", latents(), {})
    write_video(tmp_path / "b.safetensors", latents(side=8), {})
    with pytest.raises(CorpusError, match=r"b\.saf.* frames of \[3, 8, 8\], .*a\.saf.* \[3, 4, 4\]"):
        Corpus.open(tmp_path)


def test_names_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "a.safetensors", latents(), {})
    with pytest.raises(CorpusError, match="both named 'a'"):
        Corpus.open([tmp_path / "one", tmp_path / "two"])


def test_no_corpus(tmp_path: Path) -> None:
    for places in (tmp_path, tmp_path / "none", []):
        with pytest.raises(CorpusError, match="expected"):
            Corpus.open(places)


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    write_video(tmp_path / "a.safetensors", latents(), {})
    (video,) = Corpus.open(tmp_path).videos
    for start, stop in ((-1, 2), (3, 3), (0, 7), (6, None)):
        with pytest.raises(IndexError, match=r"\[0, 6\)"):
            video.latents(start, stop)


def test_a_file_that_was_replaced(tmp_path: Path) -> None:
    write_video(tmp_path / "a.safetensors", latents(), {})
    (video,) = Corpus.open(tmp_path).videos
    write_video(tmp_path / "a.safetensors", latents(9), {})
    with pytest.raises(CorpusError, match="has changed"):
        video.latents(0, 3)
    video.path.unlink()
    with pytest.raises(CorpusError, match=r"a\.safetensors: cannot be read"):
        video.latents(0, 3)


class Evil:
    """What a pickle may do."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("evil"),)


def ours(path: Path, about: dict[str, str] | None = None, **tensors: Tensor) -> None:
    save_file({"latents": latents(), **tensors}, path / "a.safetensors", about)


def theirs(path: Path, content: object) -> None:
    torch.save(content, path / "latent_0.pt")


def torn(path: Path) -> None:
    ours(path)
    file = path / "a.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


HOSTILE = {
    "empty": lambda path: (path / "a.safetensors").write_bytes(b""),
    "torn": torn,
    "noise": lambda path: (path / "a.safetensors").write_bytes(bytes(range(256)) * 8),
    "other tensors": lambda path: save_file({"weight": latents()}, path / "a.safetensors"),
    "one frame without time": lambda path: ours(path, latents=latents()[0].contiguous()),
    "no frames": lambda path: ours(path, latents=latents()[:0].contiguous()),
    "integers": lambda path: ours(path, latents=latents().long()),
    "places of another length": lambda path: ours(path, places=torch.arange(5)),
    "places in halves": lambda path: ours(path, places=torch.arange(6) / 2),
    "metadata of numbers": lambda path: ours(path, {"video": '{"seed": 1}'}),
    "metadata that is no JSON": lambda path: ours(path, {"video": "seed 1"}),
    "a pickle that acts": lambda path: theirs(path, Evil()),
    "a dict": lambda path: theirs(path, {"latents": latents()}),
    "more than its bytes": lambda path: theirs(path, latents()[:1].expand(1 << 40, 3, 4, 4)),
    "text": lambda path: (path / "latent_0.pt").write_text("latents"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    HOSTILE[name](tmp_path)
    with pytest.raises(CorpusError, match=r"a\.safetensors|latent_0\.pt"):
        Corpus.open(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = latents()
    broken[4, 0, 0, 0] = float("nan")
    save_file({"latents": broken}, tmp_path / "a.safetensors")
    (video,) = Corpus.open(tmp_path).videos
    assert torch.equal(video.latents(0, 4), broken[:4])
    with pytest.raises(CorpusError, match=r"frames \[3, 6\) have values that are not finite"):
        video.latents(3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latents_TCHW": latents()[0]}, r"expected \[T, C, H, W\]"),
        ({"latents_TCHW": latents().double()}, "torch.float64"),
        ({"latents_TCHW": latents() / 0}, "not finite"),
        ({"places": torch.arange(5)}, r"expected int64 \[6\]"),
        ({"metadata": {"seed": 3}}, "must be strings"),
        ({"path": "a.pt"}, r"ends in \.safetensors"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, changes: dict, words: str) -> None:
    given = {"path": "a.safetensors", "latents_TCHW": latents(), "metadata": {}, **changes}
    with pytest.raises(CorpusError, match=words):
        write_video(**{**given, "path": tmp_path / given["path"]})
    assert not list(tmp_path.iterdir())
