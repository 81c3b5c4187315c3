from itertools import groupby

import numpy as np
import pytest
import torch

from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS
from generator.toy.prompts import ATTRIBUTES, Scene
from generator.toy.world import CELL, FEET, STRETCH, paint


@pytest.fixture(scope="module")
def codec():
    return ToyCodec.load(WEIGHTS / "codec.safetensors")


def test_a_panorama_is_fixed_by_scene_and_seed():
    first, second = (paint(Scene(), 24, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.variants, second.variants)
    other = paint(Scene(), 24, np.random.default_rng(4))
    assert not np.array_equal(first.variants, other.variants)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_every_word_changes_the_picture(name):
    views = [
        paint(Scene(**{name: word}), 24, np.random.default_rng(0)).view(0, 0) for word in ATTRIBUTES[name]
    ]
    for index, view in enumerate(views):
        assert view.shape == (64, 64, 3)
        assert view.dtype == np.uint8
        assert all(not np.array_equal(view, other) for other in views[:index])


def test_fields_keep_their_colour_over_a_stretch_and_then_change():
    panorama = paint(Scene(), 200, np.random.default_rng(5))
    between_path_and_tufts = panorama.variants[0, FEET + 3]
    cells = [tuple(colour) for colour in between_path_and_tufts[::CELL]]
    lengths = [len(list(stretch)) for _, stretch in groupby(cells)]
    assert len(lengths) > 10
    assert min(lengths[:-1]) == STRETCH[0]
    assert max(lengths) == STRETCH[1]
    assert len(set(cells)) == 6


def test_a_place_can_be_told_from_others_by_its_colours():
    """Of 40 views that do not overlap no two have nearly the same rows on average."""
    panorama = paint(Scene(settlement="forest"), 8 * 40, np.random.default_rng(6))
    views = np.stack([panorama.view(cell, 0) for cell in range(0, 8 * 40, 8)])
    rows = views.astype(float).mean(2).reshape(len(views), -1)
    apart = np.abs(rows[:, None] - rows[None]).mean(-1) + 255 * np.eye(len(rows))
    assert apart.min() > 4


def test_a_camera_step_shifts_the_view_by_one_cell():
    panorama = paint(Scene(time="dusk"), 32, np.random.default_rng(1))
    before, after = panorama.view(7, 0), panorama.view(8, 0)
    below_the_sun = slice(40, 64)
    assert np.array_equal(before[below_the_sun, CELL:], after[below_the_sun, :-CELL])


def test_a_camera_step_shifts_latents_exactly(codec):
    panorama = paint(Scene(), 32, np.random.default_rng(1))
    before, after = codec.encode(np.stack([panorama.view(7, 0), panorama.view(8, 0)]))
    torch.testing.assert_close(before[:, 5:, 1:], after[:, 5:, :-1], rtol=0, atol=1e-5)


def test_sun_and_companion_stay_in_the_view():
    panorama = paint(Scene(companion="balloon"), 40, np.random.default_rng(2))
    views = [panorama.view(cell, 0).astype(int) for cell in range(20)]
    red = [(view[:24, 8:24, 0] - view[:24, 8:24, 2] > 100).sum() for view in views]
    assert min(red) > 40


def test_codec_keeps_the_picture(codec):
    rng = np.random.default_rng(99)
    views = [paint(Scene.sample(rng), 24, rng).view(5, 1) for _ in range(16)]
    latents = codec.encode(np.stack(views))
    decoded = codec.decode(latents)
    error = (decoded.astype(float) - np.stack(views)) ** 2
    assert latents.shape == (16, 16, 8, 8)
    assert 0.7 < latents.std() < 1.4
    assert 10 * np.log10(255**2 / error.mean()) > 28
