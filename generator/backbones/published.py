"""The published few-step generators, each with the files of `generator.weights.hub` below one root.

All were distilled for 4 passes with shift 5 and blocks of 3, and run in the window of LongLive-RAG's release:
W = 12, S = 1. (LongLive was trained with S = 3.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from generator.backbones.backbone import Backbone
from generator.backbones.diffusers_folder import Setup, assemble
from generator.weights import hub, user_files
from generator.weights.checkpoints import build_transformer, folder_config, load_weights
from generator.weights.lora import attach, load_lora, merge


def self_forcing(root: Path | str = user_files.WEIGHTS, setup: Setup = Setup()) -> Backbone:  # noqa: B008
    """Self Forcing, trained on 21 latent frames: its averaged weights, as its authors run it.

    Raises MissingFileError, CheckpointError.
    """
    return _single_file("self_forcing", Path(root), "generator_ema", setup)


def causal_forcing(root: Path | str = user_files.WEIGHTS, setup: Setup = Setup()) -> Backbone:  # noqa: B008
    """Causal Forcing, the model of blocks of three frames. Raises MissingFileError, CheckpointError."""
    return _single_file("causal_forcing", Path(root), "generator", setup)


def longlive(
    root: Path | str = user_files.WEIGHTS,
    setup: Setup = Setup(),  # noqa: B008 (frozen)
    *,
    merged: bool = True,
) -> Backbone:
    """LongLive 1: its base and the adapters of its training on long videos.

    merged: adapters are added to the weights in float32, before these are cast; else they stay beside them as
    in the reference, which costs about a quarter more arithmetic in the linear layers.
    Raises MissingFileError, CheckpointError.
    """
    root = Path(root).expanduser()
    hub.check("longlive", root)
    base_file, lora_file = (hub.locate(places, root) for places in hub.GENERATORS["longlive"])
    folder = hub.base_folder(root)
    weights, lora = load_weights(base_file, "generator"), load_lora(lora_file)
    if merged:
        weights = merge(weights, lora, setup.dtype)
    transformer = build_transformer(folder_config(folder), weights, setup.dtype, original=True)
    if not merged:
        attach(transformer, lora)
    return assemble("longlive" if merged else "longlive-unmerged", transformer, folder, setup)


PUBLISHED: Mapping[str, Callable[[Path | str, Setup], Backbone]] = {
    "self_forcing": self_forcing,
    "causal_forcing": causal_forcing,
    "longlive": longlive,
}


def _single_file(name: str, root: Path, container: str, setup: Setup) -> Backbone:
    root = root.expanduser()
    hub.check(name, root)
    (places,) = hub.GENERATORS[name]
    folder = hub.base_folder(root)
    weights = load_weights(hub.locate(places, root), container)
    transformer = build_transformer(folder_config(folder), weights, setup.dtype, original=True)
    return assemble(name, transformer, folder, setup)
