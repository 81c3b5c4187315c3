"""What the model of a batch is loaded from, as far as the command line says, by content."""

from __future__ import annotations

import argparse
from pathlib import Path

from encoder.untrained import UNTRAINED
from generator.batch.fingerprints import Fingerprints
from generator.toy.config import WEIGHTS as TOY_WEIGHTS
from generator.weights import hub, user_files


def digests(options: argparse.Namespace, fingerprints: Fingerprints) -> dict[str, str]:
    """Part of the model -> SHA-256 of its file or folder, the name of an encoder that has none.

    Raises MissingFileError where published weights are not there, OSError for others.
    """
    if options.backbone in hub.GENERATORS:
        found = published(options.backbone, (options.weights or user_files.WEIGHTS).expanduser())
    elif options.backbone == "toy":
        found = {"folder": options.weights or TOY_WEIGHTS}
    else:
        found = {"folder": options.weights, "checkpoint": options.checkpoint}
    if options.encoder is not None:
        found["encoder"] = options.encoder
    return {part: _digest(path, fingerprints) for part, path in found.items() if path is not None}


def published(backbone: str, root: Path) -> dict[str, Path]:
    """Part -> where it lies below the root. Raises MissingFileError with the commands that fetch it."""
    hub.check(backbone, root)
    places = {f"generator.{number}": files for number, files in enumerate(hub.GENERATORS[backbone])}
    found = {part: hub.locate(files, root) for part, files in places.items()}
    if hub.is_there(hub.ENCODER, root):
        found["encoder"] = hub.locate(hub.ENCODER, root)
    return found | {"base": hub.base_folder(root)}


def _digest(path: Path, fingerprints: Fingerprints) -> str:
    return str(path) if str(path) in UNTRAINED else fingerprints.of(path)
