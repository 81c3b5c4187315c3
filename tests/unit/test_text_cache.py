"""Text embeddings: cleaning, zero rows, and the cache on disk, on a tiny random text encoder."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_wan import save_base, text_model, tokenizer

from generator.errors import MissingFileError
from generator.story.schedule import Schedule, Turn
from generator.story.text import PromptTrack
from generator.wan.text_cache import CachedText
from generator.wan.umt5 import UMT5, clean_prompt, identity

LEN = 6


class Loader:
    """Loads a tiny encoder and counts how often."""

    def __init__(self) -> None:
        self.times = 0
        self._model = text_model()

    def __call__(self) -> UMT5:
        self.times += 1
        return UMT5(tokenizer(), self._model, text_len=LEN)


@pytest.fixture
def loader() -> Loader:
    return Loader()


def cached(folder: Path, loader: Loader, name: str = "tiny") -> CachedText:
    return CachedText(folder, name, loader, text_len=LEN)


def test_prompts_are_cleaned() -> None:
    assert clean_prompt("  a\n village &amp;amp; \t sea ") == "a village & sea"
    assert clean_prompt("schÃ¶n") == "schön"


def test_rows_past_the_prompt_are_zero_and_stay(tmp_path: Path, loader: Loader) -> None:
    text = cached(tmp_path, loader)
    for _ in range(2):
        track = text.track("a village", 4)
        assert track.rows == (0,) * 4
        assert track.embeds.shape == (1, LEN, 8)
        assert (track.embeds[0, 3:] == 0).all()
        assert (track.embeds[0, :3] != 0).any(dim=-1).all()
    assert text.embed(["a " * 20]).shape == (1, LEN, 8)


def test_the_model_is_loaded_for_new_prompts_alone(tmp_path: Path, loader: Loader) -> None:
    text = cached(tmp_path, loader)
    made = text.embed(["a village", "a", "a village"])
    assert loader.times == 1
    assert torch.equal(made[0], made[2])
    assert torch.equal(made, cached(tmp_path, loader).embed([" a   village", "a", "a village"]))
    assert loader.times == 1
    again = text.embed(["village", "a"])
    assert loader.times == 2
    assert torch.equal(again[1], made[1])
    assert torch.equal(again, UMT5(tokenizer(), text_model(), text_len=LEN).embed(["village", "a"]))


def test_the_model_is_loaded_once_for_all_prompts_of_a_story(tmp_path: Path, loader: Loader) -> None:
    turns = (Turn(block=2, prompt="a", asked_s=1.5), Turn(block=3, prompt="village", asked_s=2.25))
    track = PromptTrack.of(Schedule("a village", turns), cached(tmp_path, loader), 5)
    assert loader.times == 1
    assert track.rows == (0, 0, 1, 2, 2)
    assert torch.equal(track.embeds, cached(tmp_path, loader).embed(["a village", "a", "village"]))


def test_what_is_kept_is_without_the_zero_rows(tmp_path: Path, loader: Loader) -> None:
    text = cached(tmp_path, loader)
    text.embed(["a village"])
    assert load_file(text.path(text.key("a village")))["embeds"].shape == (3, 8)


def test_other_encoders_and_lengths_have_other_embeddings(tmp_path: Path, loader: Loader) -> None:
    texts = [cached(tmp_path, loader), cached(tmp_path, loader, "another")]
    texts.append(CachedText(tmp_path, "tiny", loader, text_len=LEN + 1))
    assert len({text.key("a village") for text in texts}) == 3
    texts[0].embed(["a village"])
    texts[1].embed(["a village"])
    assert loader.times == 2


def damage_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def damage_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def damage_whole(path: Path) -> None:
    path.write_bytes(b"")


def damage_origin(path: Path) -> None:
    save_file({"embeds": torch.ones(2, 8)}, path)


def damage_content(path: Path) -> None:
    save_file({"other": torch.ones(2, 8)}, path)


@pytest.mark.parametrize("damage", [damage_bytes, damage_length, damage_whole, damage_origin, damage_content])
def test_damaged_files_are_made_anew(
    tmp_path: Path, loader: Loader, damage, caplog: pytest.LogCaptureFixture
) -> None:
    text = cached(tmp_path, loader)
    made = text.embed(["a village"])
    path = text.path(text.key("a village"))
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(text.embed(["a village"]), made)
    assert str(path) in caplog.text
    assert loader.times == 2
    assert torch.equal(text.embed(["a village"]), made)
    assert loader.times == 2


def test_a_file_under_another_prompts_name_is_not_believed(tmp_path: Path, loader: Loader) -> None:
    text = cached(tmp_path, loader)
    made = text.embed(["a village", "a"])
    text.path(text.key("a")).write_bytes(text.path(text.key("a village")).read_bytes())
    assert torch.equal(text.embed(["a"])[0], made[1])


def test_many_may_write_at_once_and_leave_nothing_half_written(tmp_path: Path, loader: Loader) -> None:
    made = []
    text = cached(tmp_path, loader)
    threads = [threading.Thread(target=lambda: made.append(text.embed(["a village"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert all(torch.equal(embeds, made[0]) for embeds in made)
    assert [path.name for path in tmp_path.iterdir()] == [f"{text.key('a village')}.safetensors"]


def test_an_embedding_that_cannot_be_kept_leaves_no_part(tmp_path: Path, loader: Loader) -> None:
    text = cached(tmp_path, loader)
    text.path(text.key("a")).mkdir()
    with pytest.raises(OSError, match="a directory"):
        text.embed(["a"])
    assert [path.is_dir() for path in tmp_path.iterdir()] == [True]


def test_identities_tell_text_encoders_apart(tmp_path: Path) -> None:
    folder = save_base(tmp_path)
    names = {identity(folder, torch.bfloat16), identity(folder, torch.float32)}
    weights = folder / "text_encoder" / "model.safetensors"
    whole = weights.read_bytes()
    for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole + bytes(1 << 20)):
        weights.write_bytes(changed)
        names.add(identity(folder, torch.bfloat16))
    weights.write_bytes(whole)
    assert identity(folder, torch.bfloat16) in names
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(settings.read_text() + " ")
    names.add(identity(folder, torch.bfloat16))
    assert len(names) == 5
    settings.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(MissingFileError, match="tokenizer"):
        identity(folder, torch.bfloat16)
