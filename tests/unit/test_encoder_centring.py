"""`reverie-encoder centre`: embeddings spread out, reconstructions and distances stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoder_trainings import PANS, SHORT
from torch.nn import functional as F

from encoder import checkpoint
from encoder.__main__ import main
from encoder.centring import centred, find_centre
from encoder.corpus import Corpus
from encoder.model import LatentAE


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.open(PANS)


@pytest.fixture
def collapsed() -> LatentAE:
    """An autoencoder whose embeddings all lie far off on one side."""
    torch.manual_seed(0)
    model = LatentAE(SHORT.model).eval().requires_grad_(False)
    model.encoder.fc.bias += 5
    return model


def embedded(model: LatentAE, corpus: Corpus) -> torch.Tensor:
    return torch.cat([model.encoder(video.latents().float()) for video in corpus.videos])


def test_the_mean_of_the_corpus_becomes_the_origin(collapsed: LatentAE, corpus: Corpus) -> None:
    before = embedded(collapsed, corpus)
    after = embedded(centred(collapsed, find_centre(collapsed, corpus).mean), corpus)
    assert before.mean(0).abs().min() > 1
    assert after.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(torch.pdist(after), torch.pdist(before), atol=1e-4, rtol=1e-4)


def test_what_is_reconstructed_stays(collapsed: LatentAE, corpus: Corpus) -> None:
    latents = corpus.videos[0].latents().float()
    before, _ = collapsed(latents)
    after, _ = centred(collapsed, find_centre(collapsed, corpus).mean)(latents)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert before.std() > 1e-2


def test_the_mean_cosine_is_that_of_all_pairs_of_frames(collapsed: LatentAE, corpus: Corpus) -> None:
    units = F.normalize(embedded(collapsed, corpus).double(), dim=-1)
    cosines = (units @ units.T)[~torch.eye(len(units), dtype=torch.bool)]
    assert find_centre(collapsed, corpus).cosine == pytest.approx(float(cosines.mean()), abs=1e-6)


def test_the_command_spreads_what_was_collapsed(
    collapsed: LatentAE, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "given.safetensors", tmp_path / "centred.safetensors"
    checkpoint.save(collapsed, given)
    assert main(["centre", str(given), "--corpus", str(PANS), "--out", str(out)]) == 0
    assert f"{len(corpus.videos)} videos: " in capsys.readouterr().out
    moved = checkpoint.load(out)
    assert moved.encoder_id != collapsed.encoder_id
    assert find_centre(collapsed, corpus).cosine > 0.99
    assert find_centre(moved, corpus).cosine < 0.5


def test_a_corpus_of_other_frames_is_refused(
    collapsed: LatentAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(collapsed.config, height=collapsed.config.height + 1)
    checkpoint.save(LatentAE(config), tmp_path / "taller.safetensors")
    words = ["centre", str(tmp_path / "taller.safetensors"), "--corpus", str(PANS)]
    assert main([*words, "--out", str(tmp_path / "out.safetensors")]) == 1
    assert "the corpus has frames of" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
