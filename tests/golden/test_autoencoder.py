"""The retrieval autoencoder: reconstruction, embedding, and the losses that it is trained on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from encoder.checkpoint import CheckpointError, from_weights, published_config
from encoder.losses import LossConfig, Losses, losses

LOSS_FIELDS = ("delta_weight", "delta_margin", "delta_window", "smooth_weight")
TERMS = ("total", "recon", "delta", "smooth")


@torch.no_grad()
def test_forward(case) -> None:
    model = from_weights(published_config(case.config.ae), case.under("ae."))
    assert list(model.config.feature_shape) == case.config.feat_shape
    latents = case["ae_input"].flatten(0, 1)
    recon, embedding = model(latents)
    case.check("ae_recon", recon)
    case.check("ae_embed", embedding)
    case.check("ae_encode_raw", embedding)
    case.check("ae_encode_normalized", model.encode(latents))


def test_losses_and_gradients(case) -> None:
    for info in case.info["loss_cases"]:
        name = f"loss{info['index']}"
        embeddings = case[f"{name}_embed"].requires_grad_()
        recon = case[f"{name}_recon"].requires_grad_()
        assert embeddings.shape == (info["B"], info["S"], info["D"])
        terms = losses(recon, case[f"{name}_target"].flatten(0, 1), embeddings, loss_config(info))
        check_values(case, f"{name}_value", terms, info["values"])
        for term in ("total", "delta", "smooth"):
            check_gradient(case, f"{name}_grad_embed_{term}", gradient(getattr(terms, term), embeddings))
        check_gradient(case, f"{name}_grad_recon_recon", gradient(terms.recon, recon))


def test_gradients_of_the_parameters(case) -> None:
    model = from_weights(published_config(case.config.ae), case.under("ae.")).train().requires_grad_(True)
    latents = case["ae_input"]
    recon, embeddings = model(latents.flatten(0, 1))
    terms = losses(
        recon,
        latents.flatten(0, 1),
        embeddings.unflatten(0, latents.shape[:2]),
        loss_config(case.config.ae_loss_config),
    )
    check_values(case, "ae_value", terms)
    terms.total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = case.under("aegrad.")
    assert expected
    for name in expected:
        check_gradient(case, f"aegrad.{name}", gradients[name])
    tolerance = case.info["tolerance"]
    assert gradients.keys() == case.info["ae_grad_norms"].keys()
    for name, norm in case.info["ae_grad_norms"].items():
        expected_norm = pytest.approx(norm, abs=tolerance["gradient_atol"], rel=tolerance["gradient_rtol"])
        assert gradients[name].norm().item() == expected_norm, name


def test_weights_load_strictly(case) -> None:
    weights = case.under("ae.")
    dropped = sorted(weights)[0]
    with pytest.raises(CheckpointError, match=f"missing: {dropped}"):
        from_weights(published_config(case.config.ae), {n: t for n, t in weights.items() if n != dropped})


def loss_config(values: dict) -> LossConfig:
    return LossConfig(**{field: values[field] for field in LOSS_FIELDS})


def gradient(value: Tensor, tensor: Tensor) -> Tensor:
    """d value / d tensor; zero where the value does not depend on it."""
    if not value.requires_grad:
        return torch.zeros_like(tensor)
    found = torch.autograd.grad(value, tensor, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(tensor) if found is None else found


def check_values(case, prefix: str, terms: Losses, values: dict | None = None) -> None:
    tolerance = case.info["tolerance"]
    atol, rtol = tolerance["loss_value_atol"], tolerance["suggested_rtol"]
    for term in TERMS:
        value = getattr(terms, term).detach()
        case.check(f"{prefix}_{term}", value, atol=atol)
        assert values is None or value.item() == pytest.approx(values[term], abs=atol, rel=rtol), term


def check_gradient(case, name: str, actual: Tensor) -> None:
    tolerance = case.info["tolerance"]
    atol, rtol = tolerance["gradient_atol"], tolerance["gradient_rtol"]
    torch.testing.assert_close(actual, case[name], atol=atol, rtol=rtol, msg=lambda m: f"{name}: {m}")
