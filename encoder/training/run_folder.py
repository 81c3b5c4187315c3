"""The folder of one training: what it was begun with, where it stands, and what came out.

    config.json        the TrainingConfig
    corpus.json        names and digests of the videos, and which of them were held out
    state.safetensors  the last whole epoch (snapshot.py): what a training goes on from
    best.safetensors   the model of the epoch with the lowest validation loss (checkpoint.py)
    last.safetensors   the model of the last epoch
    curve.csv, .png    losses, a row an epoch

Of an epoch the state is written after its models: what a killed training left of a further one is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from encoder import checkpoint
from encoder.corpus import CorpusVideo
from encoder.files import replacing
from encoder.model import LatentAE
from encoder.training import curve
from encoder.training.config import TrainingConfig, TrainingError, differences, from_values, to_values
from encoder.training.snapshot import Snapshot


class RunFolder:
    """Paths, and the rules of what is written to them when."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.state, self.best, self.last = (
            self.path / f"{name}.safetensors" for name in ("state", "best", "last")
        )

    def config(self) -> TrainingConfig | None:
        """What the training here was begun with; None where none was. Raises TrainingError."""
        path = self.path / "config.json"
        if not path.exists():
            return None
        try:
            return from_values(json.loads(path.read_text()))
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} is not the configuration of a training: {error!r}") from error

    def begin(self, config: TrainingConfig) -> None:
        """Write the configuration. Raises TrainingError where a training was begun here with another.

        Only `epochs` may change, where the learning rate is constant: the past does not depend on it then.
        """
        before = self.config()
        if before and config.schedule == "constant":
            before = replace(before, epochs=config.epochs)
        found = differences(before, config) if before else []
        if found:
            raise TrainingError(f"{self.path} was begun with another configuration: {'; '.join(found)}")
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(self.path / "config.json", to_values(config))

    def take(self, videos: Sequence[CorpusVideo], held_out: Sequence[int]) -> None:
        """Write what the corpus is. Raises TrainingError where the training began on another."""
        path = self.path / "corpus.json"
        told = {
            "videos": {video.name: digest(video) for video in videos},
            "validation": [videos[number].name for number in held_out],
        }
        if path.exists():
            before, now = json.loads(path.read_text())["videos"], told["videos"]
            other = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            if other:
                raise TrainingError(
                    f"corpus: {self.path} was begun on another; {len(other)} videos are new, missing or "
                    f"changed, the first is {other[0]}"
                )
        _write_json(path, told)

    def snapshot(self) -> Snapshot | None:
        """Where the training stands; None before the end of its first epoch. Raises TrainingError."""
        return Snapshot.load(self.state) if self.state.exists() else None

    def keep(self, snapshot: Snapshot, model: LatentAE, *, is_best: bool) -> None:
        """Write the end of an epoch."""
        if is_best:
            checkpoint.save(model, self.best)
        checkpoint.save(model, self.last)
        snapshot.save(self.state)
        self.write_curve(snapshot.rows)

    def write_curve(self, rows: Sequence[curve.Row]) -> None:
        curve.write_csv(rows, self.path / "curve.csv")

    def draw_curve(self, rows: Sequence[curve.Row]) -> None:
        curve.draw(rows, self.path / "curve.png")


def digest(video: CorpusVideo) -> str:
    """Tells videos apart by size, type, and first and last frame. Raises CorpusError."""
    state = hashlib.sha256(f"{video.num_frames} {video.latent_shape} {video.dtype}".encode())
    for frame in (0, video.num_frames - 1):
        state.update(video.latents(frame, frame + 1).contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with replacing(path) as aside:
        aside.write_text(json.dumps(values, indent=1) + "\n")
