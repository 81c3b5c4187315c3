"""`reverie-encoder centre`: embeddings spread out, reconstructions and distances stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoder_trainings import PANS, SHORT
from torch.nn import functional as F

from encoder import checkpoint
from encoder.__main__ import main
from encoder.centring import CentringError, centre_of, centred, embed, mean_cosine
from encoder.corpus import Corpus, CorpusVideo
from encoder.model import LatentAE
from encoder.training.published import export_model

VIDEOS = Corpus.open(PANS).videos


@pytest.fixture
def collapsed() -> LatentAE:
    """An autoencoder whose embeddings all lie far off on one side."""
    torch.manual_seed(0)
    model = LatentAE(SHORT.model).eval().requires_grad_(False)
    model.encoder.fc.bias += 5
    return model


@pytest.fixture
def given(collapsed: LatentAE, tmp_path: Path) -> Path:
    checkpoint.save(collapsed, tmp_path / "given.safetensors")
    return tmp_path / "given.safetensors"


def words(source: Path, out: Path) -> list[str]:
    return ["centre", str(source), "--corpus", str(PANS), "--out", str(out), "--cpu"]


def moved_to_centre(model: LatentAE) -> LatentAE:
    return centred(model, centre_of(embed(model, VIDEOS)))


def test_every_frame_is_embedded_in_order(collapsed: LatentAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoder.centring.BATCH", 3)
    directions = F.normalize(embed(collapsed, VIDEOS), dim=-1)
    expected = torch.cat([collapsed.encode(video.latents()) for video in VIDEOS])
    torch.testing.assert_close(directions, expected)


def test_the_mean_of_the_corpus_becomes_the_origin(collapsed: LatentAE) -> None:
    before, after = embed(collapsed, VIDEOS), embed(moved_to_centre(collapsed), VIDEOS)
    assert before.mean(0).abs().min() > 1
    assert after.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(torch.pdist(after), torch.pdist(before), atol=1e-4, rtol=1e-4)


def test_what_is_reconstructed_stays(collapsed: LatentAE) -> None:
    latents = VIDEOS[0].latents().float()
    before, _ = collapsed(latents)
    after, _ = moved_to_centre(collapsed)(latents)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert before.std() > 1e-2


def test_the_mean_cosine_is_that_of_all_pairs_of_frames(collapsed: LatentAE) -> None:
    embeddings = embed(collapsed, VIDEOS)
    units = F.normalize(embeddings.double(), dim=-1)
    cosines = (units @ units.T)[~torch.eye(len(units), dtype=torch.bool)]
    assert mean_cosine(embeddings) == pytest.approx(float(cosines.mean()), abs=1e-6)


@pytest.mark.parametrize("published", [False, True])
def test_the_command_spreads_what_was_collapsed(
    collapsed: LatentAE, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], published: bool
) -> None:
    source, out = given, tmp_path / "centred.safetensors"
    if published:
        source = tmp_path / "ae_latent_mem.pt"
        export_model(collapsed, source)
    assert main(words(source, out)) == 0
    told = re.search(r"of 10 videos: (\S+) before, (\S+) after; written", capsys.readouterr().out)
    assert told is not None
    before, after = map(float, told.groups())
    moved = checkpoint.load(out)
    assert moved.encoder_id != collapsed.encoder_id
    assert before == pytest.approx(mean_cosine(embed(collapsed, VIDEOS)), abs=1e-4)
    assert after == pytest.approx(mean_cosine(embed(moved, VIDEOS)), abs=1e-4)
    assert before > 0.99
    assert after < 0.5


def nothing_finite(model: LatentAE) -> None:
    model.encoder.fc.bias[0] = torch.nan


def one_point(model: LatentAE) -> None:
    model.encoder.fc.weight.zero_()


@pytest.mark.parametrize(("spoil", "said"), [(nothing_finite, "not finite"), (one_point, "all one point")])
def test_what_no_origin_can_mend_is_refused(
    collapsed: LatentAE, spoil: Callable[[LatentAE], None], said: str
) -> None:
    spoil(collapsed)
    with pytest.raises(CentringError, match=said):
        centre_of(embed(collapsed, VIDEOS))


def test_a_corpus_of_other_frames_is_refused(collapsed: LatentAE) -> None:
    taller = LatentAE(replace(collapsed.config, height=collapsed.config.height + 1)).eval()
    with pytest.raises(CentringError, match=r"pan-00.safetensors has frames of \[.*, the encoder reads \["):
        embed(taller, VIDEOS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ae.pt", "ends in .safetensors"),
        ("nowhere/ae.safetensors", "there is no folder"),
        ("given.safetensors", "another file than the checkpoint"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_a_corpus_is_read(
    given: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    def read(video: CorpusVideo, *_: int) -> torch.Tensor:
        raise AssertionError(f"{video.name} was read")

    monkeypatch.setattr(CorpusVideo, "latents", read)
    before = given.read_bytes()
    assert main(words(given, given.parent / name)) == 1
    assert said in capsys.readouterr().err
    assert given.read_bytes() == before
    assert [path.name for path in given.parent.iterdir()] == ["given.safetensors"]
