"""Everything that a model family brings to a rollout, by name: named configurations are functions."""

from generator.backbones.backbone import Backbone
from generator.backbones.bundled import TOY_WEIGHTS, ToyDecoder, ToyText, toy
from generator.backbones.diffusers_folder import Setup, wan
from generator.backbones.published import PUBLISHED, causal_forcing, longlive, self_forcing

__all__ = [
    "PUBLISHED",
    "TOY_WEIGHTS",
    "Backbone",
    "Setup",
    "ToyDecoder",
    "ToyText",
    "causal_forcing",
    "longlive",
    "self_forcing",
    "toy",
    "wan",
]
