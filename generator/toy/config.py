"""Configuration of the toy model and of its training; a variant changes one field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"

SIGMAS = (1, 0.973, 0.945, 0.918, 0.891, 0.864, 0.836, 0.809, 0.782, 0.755, 0.727, 0.7, 0.55, 0.4, 0.22, 0.1)
"""Noise levels of the passes. The model is not distilled: new columns are decided, one after the
other, at high noise. 16 passes recall the most; 12 run a quarter faster and look as good."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Arguments of the stock diffusers WanTransformer3DModel."""

    patch_size: tuple[int, int, int] = (1, 8, 1)
    """A token is a whole column: a camera step of one cell moves tokens by exactly one place."""
    num_attention_heads: int = 4
    attention_head_dim: int = 48
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 64
    freq_dim: int = 256
    ffn_dim: int = 640
    num_layers: int = 8
    rope_max_seq_len: int = 1024


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One phase of the training of the toy transformer."""

    seed: int = 0
    hours: float = 1.27
    """Wall time of the phase; its learning-rate schedule follows the clock."""
    worlds: int = 3000
    world_cells: int = 64
    """Number and length in cells of the panoramas that clips are cut from."""
    clips: int = 4
    """Clips per step; every block of every clip is one batch element."""
    clip_blocks: int = 16
    starts: int = 8
    """Further clips per step, of two blocks only: the first one is made from nothing."""
    draws: int = 2
    """Noise draws per block and step."""
    sigma_shift: float = 5.0
    matrix_lr: float = 0.02
    """Muon, for the matrices of the transformer blocks."""
    other_lr: float = 2e-3
    """AdamW, for everything else."""
    warmup: float = 0.02
    """Share of the phase in which the learning rate rises linearly; then it falls linearly."""
    ema_decay: float = 0.998
    astray_blocks: int = 0
    """Blocks of each long clip that their next block attends to in a version gone astray."""
    alike_share: float = 0.0
    """Share of the blocks that retrieve what looks alike, rather than what is near."""
    early_share: float = 0.0
    """Share of the blocks that retrieve nothing newer than some earlier frame."""
    same_way_share: float = 0.0
    """Share of the blocks that retrieve nothing but earlier moves in the direction of the coming one, where
    there are any: about half of the blocks that move."""
    guard_share: float = 0.0
    """Share of the blocks that retrieve none of the newest 16 frames, as in rollouts."""
    longest_moves: tuple[int, ...] = (9,)
    """Blocks that a camera move lasts at most; one of these for each clip."""
    context_noise: float = 0.15
    """Largest standard deviation of the noise on clean context latents."""
    own_context_from: float = 0.6
    """Share of the phase after which contexts hold the model's own estimates."""
    method_shares: tuple[tuple[str, float], ...] = (
        ("longlive_rag", 0.8),
        ("relative", 0.1),
        ("native", 0.1),
    )
    compile: bool = True
    """Compile the blocks (needs a C++ compiler; 1.6 times faster on the machine of record)."""
    checkpoint_minutes: float = 4.0

    def __post_init__(self) -> None:
        if abs(sum(share for _, share in self.method_shares) - 1) > 1e-6:
            raise ValueError(f"method_shares must sum to 1, got {self.method_shares}")


def phases(seed: int, hours: float | None = None) -> tuple[TrainConfig, ...]:
    """The whole training: everything at first, then eight times more on new worlds, mostly recalling.

    The later phases restart the learning rate, lean to high noise, where new columns are decided, and keep
    contexts clean: without them retrieved places come back for two blocks and then drift. The fourth
    teaches to come back from that: to trust older frames where the newest went astray. The fifth teaches to
    tell a place from its likes: without it a world repeats what it retrieves. The sixth varies how long
    moves are and how old what is recalled; the two after it teach to know a place again that was passed in
    the same direction, where otherwise the way back is remembered best. In the last, half of the blocks
    retrieve none of the newest 16 frames, as in rollouts: a hold at a new place retrieves its neighbours
    alone, and the view must not jump there.

    Where `hours` says what all of them may take together, each takes its share.
    """
    first = TrainConfig(seed=seed)
    recalling = replace(
        first,
        worlds=1200,
        clips=5,
        starts=3,
        sigma_shift=7.0,
        matrix_lr=0.01,
        other_lr=1e-3,
        warmup=0.05,
        own_context_from=2.0,
        method_shares=(("longlive_rag", 0.9), ("relative", 0.05), ("native", 0.05)),
    )
    astray = replace(recalling, worlds=2000, astray_blocks=8)
    any_age = {"worlds": 2400, "alike_share": 0.5, "early_share": 0.5, "longest_moves": (3, 5, 9)}
    same_way = {"astray_blocks": 6, "alike_share": 0.3, "same_way_share": 0.6}
    guarded = {"astray_blocks": 6, "alike_share": 0.5, "same_way_share": 0.5, "guard_share": 0.5}
    configs = (
        first,
        replace(recalling, seed=seed + 7, hours=0.2),
        replace(recalling, seed=seed + 8, hours=0.36),
        replace(astray, seed=seed + 9, hours=0.95),
        replace(astray, seed=seed + 10, hours=0.33, alike_share=0.7),
        replace(astray, seed=seed + 11, hours=0.85, **any_age),
        replace(astray, seed=seed + 12, hours=0.42, longest_moves=(3, 4, 5), **same_way),
        replace(astray, seed=seed + 13, hours=1.0, starts=4, longest_moves=(3, 4, 5, 9), **same_way),
        replace(astray, seed=seed + 14, hours=0.6, starts=4, longest_moves=(3, 4, 5, 9), **guarded),
    )
    scale = 1.0 if hours is None else hours / sum(config.hours for config in configs)
    return tuple(replace(config, hours=config.hours * scale) for config in configs)
