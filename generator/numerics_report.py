"""How far rounding orders part: `python -m generator.numerics_report` prints the table of docs/numerics.md.

All on one thread, so that sums are rounded in the same order wherever it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from encoder import checkpoint
from encoder.model import Encoder
from encoder.pooling import AvgPool
from generator.backbones import TOY_WEIGHTS, toy
from generator.configs import Geometry
from generator.connect import EMBEDDED, connect
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.wan.reference_numerics import NUMERICS
from generator.weights.checkpoints import build_transformer, load_transformer
from memory_service.memory import Memory
from memory_service.types import VideoKey

METHOD = "longlive_rag"
PROMPT = "a snowy village at dusk; pan right 15s, pan left 15s"
SEED = 0

RANDOM = {
    "num_attention_heads": 4,
    "attention_head_dim": 64,
    "text_dim": 64,
    "freq_dim": 256,
    "ffn_dim": 1024,
    "num_layers": 4,
}
"""Arguments of diffusers' model; it is initialised as diffusers does."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, and all that a rollout of it needs beside numerics and noise."""

    name: str
    transformer: Callable[[torch.dtype], WanTransformer3DModel]
    config: RolloutConfig
    track: PromptTrack
    encoder: Encoder

    @property
    def blocks(self) -> int:
        return len(self.track.rows)


@dataclass(frozen=True)
class Variant:
    """One way to run a subject."""

    numerics: str
    dtype: torch.dtype
    seed: int = SEED

    def __str__(self) -> str:
        seed = "" if self.seed == SEED else ", other noise"
        return f"{self.numerics} {str(self.dtype).removeprefix('torch.')}{seed}"


@dataclass(frozen=True)
class Made:
    """What one variant made: the flow of its very first pass, and all blocks."""

    first_flow: Tensor
    blocks: Sequence[RolledBlock]

    def retrieved(self) -> list[set[int]]:
        """Frames retrieved, block by block."""
        return [{hit.handle.frame for hit in block.hits} for block in self.blocks]


EXACT = Variant("stock", torch.float32)
PAIRS = (
    (Variant("reference", torch.float32), EXACT),
    (Variant("stock", torch.bfloat16), EXACT),
    (Variant("reference", torch.bfloat16), EXACT),
    (Variant("reference", torch.bfloat16), Variant("stock", torch.bfloat16)),
    (Variant("stock", torch.float32, SEED + 1), EXACT),
)
"""What is compared with what; the last says how far two videos are apart that have nothing to do with each
other but their prompt."""


def trained(blocks: int) -> Subject:
    """The toy that comes with the code."""
    backbone = toy()
    return Subject(
        name="toy, trained",
        transformer=lambda dtype: load_transformer(TOY_WEIGHTS / "transformer", dtype=dtype),
        config=backbone.config(policy_named(METHOD)),
        track=backbone.text.track(PROMPT, blocks),
        encoder=checkpoint.load(TOY_WEIGHTS / "encoder.safetensors"),
    )


def random(blocks: int) -> Subject:
    """Four layers of random weights, four passes a block."""
    torch.manual_seed(SEED)
    weights = WanTransformer3DModel(**RANDOM).state_dict()
    return Subject(
        name="random, 4 layers",
        transformer=lambda dtype: build_transformer(RANDOM, weights, dtype),
        config=RolloutConfig(policy=policy_named(METHOD), geometry=Geometry(height=16, width=16)),
        track=PromptTrack(embeds=torch.randn(1, 16, RANDOM["text_dim"]), rows=(0,) * blocks),
        encoder=AvgPool(Geometry().channels),
    )


def make(subject: Subject, variant: Variant, memory: Memory) -> Made:
    """Roll the subject out in one way."""
    model, config = NUMERICS[variant.numerics](subject.transformer(variant.dtype)), subject.config
    shape = config.geometry.latent_shape
    noise = SeededNoise(
        PROMPT,
        variant.seed,
        blocks=subject.blocks,
        block_frames=config.window.block_frames,
        passes=len(config.sampling.steps),
        latent_shape=shape,
    )
    flows: list[Tensor] = []
    flow = model.flow

    def keeping_first(*args: object) -> Tensor:
        made = flow(*args)
        flows.extend([] if flows else [made])
        return made

    model.flow = keeping_first
    spec = video_spec(subject.encoder, shape, variant.dtype)
    key = VideoKey("numerics", f"{subject.name} {variant}".replace(" ", "-").replace(",", ""))
    with History(memory, key, spec) as history:
        blocks = list(rollout(model, config, subject.track, noise, subject.encoder, history))
    return Made(flows[0], blocks)


def difference(a: Tensor, b: Tensor) -> float:
    """Relative, L2."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def rows(subject: Subject, shown: Sequence[int], memory: Memory) -> Iterator[str]:
    """One line of the table per pair; shown: blocks, from 0."""
    made = {variant: make(subject, variant, memory) for variant in dict.fromkeys(sum(PAIRS, ()))}
    for pair in PAIRS:
        a, b = (made[variant] for variant in pair)
        alike = sum(len(x & y) for x, y in zip(a.retrieved(), b.retrieved(), strict=True))
        cells = [
            subject.name,
            f"{pair[0]} to {pair[1]}",
            f"{difference(a.first_flow, b.first_flow):.1e}",
            *(f"{difference(a.blocks[i].latents, b.blocks[i].latents):.1e}" for i in shown),
            f"{alike} of {sum(map(len, b.retrieved()))}",
        ]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--blocks", type=int, default=40, help="default: %(default)s")
    blocks = options.parse_args().blocks
    shown = sorted({index for index in (0, 3, 9, blocks - 1) if 0 <= index < blocks})
    torch.set_num_threads(1)
    head = ["model", "compared", "first pass", *(f"block {i}" for i in shown), "retrieved alike"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    with TemporaryDirectory() as folder:
        memory = connect(f"{EMBEDDED}{Path(folder) / 'memory'}")
        try:
            for subject in (trained, random):
                for row in rows(subject(blocks), shown, memory):
                    print(row, flush=True)
        finally:
            memory.close()


if __name__ == "__main__":
    main()
