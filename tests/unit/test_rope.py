import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from generator.wan.rope import axis_dims, phases, rotate


@pytest.mark.parametrize(("head_dim", "dims"), [(128, (44, 42, 42)), (48, (16, 16, 16))])
def test_axis_dims_match_wan(head_dim, dims):
    assert axis_dims(head_dim) == dims
    assert sum(axis_dims(head_dim)) == head_dim


@pytest.mark.parametrize("head_dim", [128, 48, 32])
def test_phases_equal_the_stock_table_for_consecutive_positions(head_dim):
    stock_cos, stock_sin = WanRotaryPosEmbed(head_dim, (1, 2, 1), 1024)(torch.zeros(1, 16, 3, 8, 8))
    cos, sin = phases(torch.arange(3), 4, 8, head_dim)
    torch.testing.assert_close(cos, stock_cos[0, :, 0, 0::2].float(), rtol=0, atol=0)
    torch.testing.assert_close(sin, stock_sin[0, :, 0, 1::2].float(), rtol=0, atol=0)


def test_a_repeated_position_repeats_its_phases():
    cos, _ = phases(torch.tensor([0, 7, 0]), 2, 3, 48)
    assert torch.equal(cos[:6], cos[12:])
    assert not torch.equal(cos[:6], cos[6:12])


def test_scores_depend_on_relative_positions_only():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 128).unbind(0)
    near = rotate(q, *phases(torch.tensor([11]), 1, 1, 128)) * rotate(
        k, *phases(torch.tensor([7]), 1, 1, 128)
    )
    far = rotate(q, *phases(torch.tensor([911]), 1, 1, 128)) * rotate(
        k, *phases(torch.tensor([907]), 1, 1, 128)
    )
    torch.testing.assert_close(near.sum(), far.sum(), rtol=0, atol=1e-4)


def test_rotate_keeps_dtype_and_norm():
    x = torch.randn(2, 12, 4, 48, dtype=torch.bfloat16)
    turned = rotate(x, *phases(torch.tensor([3, 900]), 2, 3, 48))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float().norm(dim=-1), x.float().norm(dim=-1), rtol=2e-2, atol=0)


@pytest.mark.parametrize("position", [-1, 1024])
def test_positions_outside_the_table_are_refused(position):
    with pytest.raises(ValueError, match=r"\[0, 1024\)"):
        phases(torch.tensor([0, position]), 2, 2, 48)
