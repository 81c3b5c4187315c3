import numpy as np
import pytest
import torch

from generator.toy.prompts import (
    TEXT_DIM,
    TEXT_LEN,
    WORDS,
    Scene,
    UnknownWordError,
    caption_embeds,
    encode,
    parse,
)

PROMPT = "a snowy village at dusk with mountains; pan right 3s, pan left 3s, hold 1.5s"


def test_scene_words_in_any_order_with_defaults():
    scene = parse("Castle, night with a bird").scene
    assert scene == Scene(settlement="castle", time="night", companion="bird")
    assert parse(PROMPT).scene == Scene(season="winter", time="dusk")


def test_an_unknown_word_is_named_with_the_vocabulary():
    with pytest.raises(UnknownWordError, match=r"'spaceship'.*castle.*pan right") as raised:
        parse("a spaceship at dusk")
    assert raised.value.word == "spaceship"
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("script", ["pan up 3s", "zoom", "pan right 0s"])
def test_an_unknown_camera_move_is_refused(script):
    with pytest.raises(ValueError, match="pan"):
        parse(f"a village; {script}")


def test_two_words_for_one_attribute_are_refused():
    with pytest.raises(ValueError, match="'village' and 'castle' both set the settlement"):
        parse("a village with a castle")


def test_camera_script_fills_blocks_of_three_frames_and_repeats():
    words = parse(PROMPT).camera_words(12)
    assert words == ("right",) * 4 + ("left",) * 4 + ("hold",) * 2 + ("right",) * 2


def test_camera_returns_to_where_it_was():
    cells = parse(PROMPT).camera_cells(10)
    assert len(cells) == 30
    assert cells[0] == 0
    assert cells[11] == 11
    assert cells[22] == 0
    assert np.abs(np.diff(cells)).max() == 1
    assert (cells[24:] == cells[23]).all()


def test_encode_gives_one_caption_per_camera_word():
    track = encode(PROMPT, 12)
    assert track.embeds.shape == (3, TEXT_LEN, TEXT_DIM)
    assert track.embeds.dtype == torch.float32
    assert track.rows == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 0, 0)
    num_words = 6
    assert (track.embeds[:, num_words:] == 0).all()
    assert torch.equal(track.embeds[0, : num_words - 1], track.embeds[1, : num_words - 1])
    assert not torch.equal(track.embeds[0, num_words - 1], track.embeds[1, num_words - 1])


def test_words_have_orthogonal_embeddings():
    scenes = [Scene(time=time) for time in ("noon", "dawn", "dusk", "night")]
    rows = torch.stack([caption_embeds(scene, "hold")[0] for scene in scenes])
    assert torch.equal(rows @ rows.T, TEXT_DIM * torch.eye(4))
    assert len(set(WORDS)) == len(WORDS) < TEXT_DIM
