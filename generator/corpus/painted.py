"""reverie-encoder corpus painted: the toy's world itself, along the camera paths of a list of prompts.

Latents of pictures that nobody generated: where the camera comes back, the place is the same; only a bird or
a balloon in the view may be at another point of its stroke. They are what an embedding is judged on where the
truth has to be known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from generator.corpus.folder import SUFFIX, collecting
from generator.corpus.places import about_places, known_places
from generator.corpus.prompts import read
from generator.errors import ConfigError
from generator.options.groups import FRAMES, Commands
from generator.toy import prompts
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS
from generator.toy.world import VIEW_CELLS, paint


def add(sources: Commands) -> None:
    painted = sources.add_parser(
        "painted", help="paint the toy's world along camera paths", description="Paint the toy's world."
    )
    painted.add_argument(
        "--prompts", required=True, metavar="PROMPTS", help="a file, or toy:COUNT[:SEED], as for rollouts"
    )
    painted.add_argument("--frames", type=int, default=FRAMES, metavar="N", help="default: %(default)s")
    painted.add_argument("--seed", type=int, default=0, help="of the worlds; default: %(default)s")
    painted.add_argument(
        "--weights", type=Path, default=WEIGHTS, metavar="DIR", help="of the codec; default: the bundled"
    )
    painted.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    painted.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Paint every video, those of earlier runs too: it takes a fraction of a second each."""
    from encoder.corpus import CorpusError, write_video

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        codec = ToyCodec.load(options.weights / "codec.safetensors")
        with collecting(options.out):
            for number, prompt in enumerate(track(read(options.prompts), "painting", console=console)):
                latents = paint_latents(codec, prompt.text, options.frames, (options.seed, number))
                places = known_places("toy", prompt.text, options.frames)
                metadata = {"prompt": prompt.text, "source": "painted", **about_places(places)}
                write_video(options.out / f"{prompt.name}-{options.seed}{SUFFIX}", latents, metadata, places)
    except (ConfigError, CorpusError, OSError, ValueError) as error:
        console.print(f"reverie-encoder: {error}", style="red")
        return 1
    return 0


def paint_latents(codec: ToyCodec, prompt: str, num_frames: int, seed: tuple[int, int]) -> torch.Tensor:
    """Latents bfloat16 [num_frames, 16, 8, 8] of views of one world. Raises ValueError on unknown words."""
    if num_frames < 1:
        raise ValueError(f"frames must be at least 1, got {num_frames}")
    told = prompts.parse(prompt)
    cells = told.camera_cells(-(-num_frames // prompts.BLOCK_FRAMES))[:num_frames]
    path = cells - cells.min()
    world = paint(told.scene, int(path.max()) + VIEW_CELLS, np.random.default_rng(seed))
    return codec.encode(
        np.stack([world.view(int(cell), frame % 2) for frame, cell in enumerate(path)])
    ).bfloat16()
