"""What the options of `add_model` name: the backbone and the retrieval encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

from encoder import checkpoint
from encoder.model import Encoder
from encoder.pooling import pool_named
from encoder.untrained import UNTRAINED
from generator import backbones
from generator.backbones import Backbone, Setup
from generator.errors import ConfigError
from generator.options.groups import is_given
from generator.wan.compiling import compile_blocks
from generator.weights import hub, user_files

WAN = (*backbones.PUBLISHED, "wan")
ONLY_FOR = {
    "checkpoint": ("wan",),
    "container": ("wan",),
    "unmerged": ("longlive",),
    "height": WAN,
    "width": WAN,
    "vae_chunk": WAN,
    "text_cache": WAN,
}
"""Option -> the backbones that have it."""

NEEDED = {"weights": "a folder in diffusers' layout", "encoder": f"a checkpoint, {' or '.join(UNTRAINED)}"}
"""Options without which `wan` cannot be."""


def load(options: argparse.Namespace) -> tuple[Backbone, Encoder]:
    """The backbone and the encoder that the options name. Raises what their loaders raise."""
    check(options)
    encoder_file = options.encoder or default_encoder(options)
    backbone = load_backbone(options)
    if str(encoder_file) in UNTRAINED:
        return backbone, pool_named(str(encoder_file), backbone.geometry.latent_shape)
    return backbone, checkpoint.load(encoder_file).to(backbone.model.device)


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError where the backbone lacks an option that is given, or needs one that is not."""
    for field, names in ONLY_FOR.items():
        if is_given(options, field) and options.backbone not in names:
            option = f"--{field.replace('_', '-')}"
            raise ConfigError(f"{option} is for {', '.join(names)}, got --backbone {options.backbone}")
    for field, expected in NEEDED.items():
        if options.backbone == "wan" and getattr(options, field) is None:
            raise ConfigError(f"--backbone wan needs --{field}, {expected}")


def load_backbone(options: argparse.Namespace) -> Backbone:
    """The backbone, compiled if asked for. Raises MissingFileError, CheckpointError, ConfigError."""
    backbone = _loaded(options)
    if options.compile:
        compile_blocks(backbone.model)
    return backbone


def _loaded(options: argparse.Namespace) -> Backbone:
    if options.backbone == "toy":
        return backbones.toy(options.weights or backbones.TOY_WEIGHTS, options.numerics)
    root, setup = options.weights or user_files.WEIGHTS, wan_setup(options)
    if options.backbone == "wan":
        return backbones.wan(root, options.checkpoint, container=options.container, setup=setup)
    if options.unmerged:
        return backbones.longlive(root, setup, merged=False)
    return backbones.PUBLISHED[options.backbone](root, setup)


def wan_setup(options: argparse.Namespace) -> Setup:
    """How a Wan backbone is to run."""
    given = {field: getattr(options, field) for field in ("height", "width", "vae_chunk", "text_cache")}
    if given["text_cache"] is not None:
        given["text_cache"] = Path(given["text_cache"])
    return Setup(
        device=options.device,
        numerics=options.numerics,
        **{field: value for field, value in given.items() if value is not None},
    )


def default_encoder(options: argparse.Namespace) -> Path:
    """The retrieval encoder that lies with a backbone's weights. Raises MissingFileError."""
    if options.backbone == "toy":
        return (options.weights or backbones.TOY_WEIGHTS) / "encoder.safetensors"
    return hub.locate(hub.ENCODER, (options.weights or user_files.WEIGHTS).expanduser())
