"""Measure what retrieval is worth in the toy world: `python -m generator.toy.training.evaluate --out DIR`.

Every variant rolls out the same prompts on the same noise through generator/rollout.py and an
embedded memory. Three numbers a variant, over frames whose place had left the view entirely:

    revisit    PSNR of the place against its first visit in the same generated video, in dB
    elsewhere  PSNR of the same views against other places of that video: the floor
    detail     edge energy of all views against painted views of the same scene; blank scenes near 0
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from encoder import checkpoint
from encoder.model import AvgPool, Encoder
from generator.backbones import Backbone, toy
from generator.connect import EMBEDDED, connect
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.records.revisit import RevisitScore, edge_energy, mean, score
from generator.rollout import rollout
from generator.toy import prompts
from generator.toy.config import WEIGHTS
from generator.toy.world import VIEW_CELLS, paint
from memory_service.memory import Memory
from memory_service.types import VideoKey

SCENES = (
    "a summer village at noon with mountains",
    "a snowy village at dusk with mountains and a balloon",
    "a summer castle at noon with hills and a bird",
    "an autumn forest at dawn with mountains",
    "a spring village at noon by the sea with a bird",
    "a winter forest at noon with hills and a balloon",
    "a summer castle at dusk by the sea",
    "an autumn castle at night with hills",
)
CAMERAS = (
    "pan right 20s, pan left 20s, pan right 20s",
    "pan left 15s, pan right 15s, pan left 30s",
    "pan right 12s, hold 3s, pan left 24s, hold 3s, pan right 18s",
)


class TrueViews:
    """An encoder that knows where the camera is: the oracle for retrieval by view.

    Frames are told apart by order, so one instance serves one rollout. Cosine falls with distance.
    """

    embedding_dim = 512
    encoder_id = "true-views"

    def __init__(self, cells: np.ndarray) -> None:
        self._cells = torch.from_numpy(cells - cells.min())
        self._next = 0

    def encode(self, latents_FCHW: Tensor) -> Tensor:
        """Embeddings [F, 512]: a bump around the camera's cell."""
        cells = self._cells[self._next : self._next + len(latents_FCHW)]
        self._next += len(latents_FCHW)
        bumps = torch.exp(-((torch.arange(self.embedding_dim) - cells[:, None]) ** 2) / VIEW_CELLS**2)
        return F.normalize(bumps.float(), dim=-1)


@dataclass(frozen=True)
class Variant:
    """A method with an embedding to retrieve by."""

    name: str
    method: str
    embedding: str = "autoencoder"

    def encoder(self, cells: np.ndarray) -> Encoder:
        match self.embedding:
            case "autoencoder":
                return checkpoint.load(WEIGHTS / "encoder.safetensors")
            case "average":
                return AvgPool(16)
            case _:
                return TrueViews(cells)


VARIANTS = (
    Variant("native", "native"),
    Variant("relative", "relative"),
    Variant("longlive_rag", "longlive_rag"),
    Variant("longlive_rag, average pool", "longlive_rag", "average"),
    Variant("longlive_rag, true views", "longlive_rag", "true"),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One variant over all prompts."""

    variant: str
    revisit_db: float
    elsewhere_db: float
    detail: float
    seconds: float
    """Mean wall time of one rollout."""


def measure(
    variant: Variant, backbone: Backbone, texts: Sequence[str], num_blocks: int, memory: Memory, seed: int
) -> tuple[Measured, list[np.ndarray]]:
    """Roll out every prompt; return the numbers and the pixel frames of each video."""
    scores: list[RevisitScore] = []
    videos, details = [], []
    started = time.monotonic()
    for number, text in enumerate(texts):
        key = VideoKey("evaluation", f"{variant.name}-{number}-{seed}".replace(", ", "-").replace(" ", "-"))
        frames = _roll(variant, backbone, text, num_blocks, memory, key, seed)
        cells = prompts.parse(text).camera_cells(num_blocks)
        videos.append(frames)
        details.append(np.mean([edge_energy(frame) for frame in frames]) / painted_detail(text, cells))
        found = score(frames, cells.tolist())
        if found is not None and found.num_frames:
            scores.append(found)
    if not scores:
        raise ValueError(f"the camera comes back to no place within {num_blocks} blocks; roll out more")
    average = mean(scores)
    measured = Measured(
        variant=variant.name,
        revisit_db=round(average.psnr_db, 2),
        elsewhere_db=round(average.elsewhere_db, 2),
        detail=round(float(np.mean(details)), 3),
        seconds=round((time.monotonic() - started) / len(texts), 1),
    )
    return measured, videos


def painted_detail(text: str, cells: np.ndarray) -> float:
    """Mean edge energy of true views along the same camera path."""
    path = cells - cells.min()
    panorama = paint(prompts.parse(text).scene, int(path.max()) + VIEW_CELLS, np.random.default_rng(0))
    views = [panorama.view(int(cell), frame % 2) for frame, cell in enumerate(path)]
    return float(np.mean([edge_energy(view) for view in views]))


def _roll(
    variant: Variant,
    backbone: Backbone,
    text: str,
    num_blocks: int,
    memory: Memory,
    key: VideoKey,
    seed: int,
) -> np.ndarray:
    config = backbone.config(policy_named(variant.method))
    encoder = variant.encoder(prompts.parse(text).camera_cells(num_blocks))
    shape = config.geometry.latent_shape
    noise = SeededNoise(
        text,
        seed,
        blocks=num_blocks,
        block_frames=config.window.block_frames,
        passes=len(config.sampling.steps),
        latent_shape=shape,
    )
    decode = backbone.decoder.stream()
    with History(memory, key, video_spec(encoder, shape, backbone.model.dtype)) as history:
        track = backbone.text.track(text, num_blocks)
        blocks = rollout(backbone.model, config, track, noise, encoder, history)
        return np.concatenate([decode(block.latents) for block in blocks])


def contact_sheet(videos: Sequence[np.ndarray], columns: int = 16) -> np.ndarray:
    """One row a video, `columns` frames evenly spread over it, uint8 [H, W, 3]."""
    rows = []
    for frames in videos:
        chosen = frames[np.linspace(0, len(frames) - 1, columns).round().astype(int)]
        rows.append(np.concatenate([np.pad(view, ((2, 2), (2, 2), (0, 0))) for view in chosen], axis=1))
    return np.concatenate(rows)


def show(results: Sequence[Measured], console: Console) -> None:
    table = Table(title="Places seen again, in generated videos")
    for column in ("variant", "revisit dB", "elsewhere dB", "gain dB", "detail", "s a video"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for row in results:
        gain = row.revisit_db - row.elsewhere_db
        numbers = (row.revisit_db, row.elsewhere_db, gain, row.detail, row.seconds)
        table.add_row(row.variant, *(f"{number:.2f}" for number in numbers))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/toy"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--blocks", type=int, default=80)
    parser.add_argument("--scenes", type=int, default=len(SCENES))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import matplotlib.image

    args.out.mkdir(parents=True, exist_ok=True)
    backbone = toy(args.weights)
    texts = [f"{scene}; {CAMERAS[number % 3]}" for number, scene in enumerate(SCENES[: args.scenes])]
    results = []
    with tempfile.TemporaryDirectory() as folder, closing(connect(EMBEDDED + folder)) as memory:
        for variant in VARIANTS:
            measured, videos = measure(variant, backbone, texts, args.blocks, memory, args.seed)
            results.append(measured)
            sheet = args.out / f"{variant.name.replace(', ', '-').replace(' ', '-')}.png"
            matplotlib.image.imsave(sheet, contact_sheet(videos))
            show(results, Console())
    report = {"prompts": texts, "blocks": args.blocks, "seed": args.seed, "results": [*map(asdict, results)]}
    (args.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
