"""Train the toy: codec, retrieval encoder and transformer in turn (`python -m generator.toy.train`).

Schedules follow the clock, so that a run fits its time on any machine. What is found in `--out` is
not trained again, and a transformer's checkpoint there is resumed. The weights written are the
moving average; the folder is one that `reverie-generate --weights` takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from generator.toy.attention import install
from generator.toy.card import write_card, write_loss
from generator.toy.clips import WorldBank, sample_batch
from generator.toy.codec import ToyCodec
from generator.toy.config import ModelConfig, TrainConfig
from generator.toy.model import Ema, build, optimizers, save_bf16
from generator.toy.objective import loss_terms
from generator.toy.train_codec import reconstruction_psnr, sample_views, train_codec
from generator.toy.train_encoder import train_encoder

BANDS = (0.3, 0.6, 0.9, 1.01)
"""Upper ends of the noise bands whose x0 error is logged."""


class Trainer:
    """Model, optimizers, moving average and log of one run."""

    def __init__(self, config: TrainConfig, model_config: ModelConfig, codec: ToyCodec) -> None:
        self.config = config
        self.model = build(model_config, config.seed)
        self.rope = install(self.model)
        if config.compile:
            for block in self.model.blocks:
                block.compile(dynamic=False)
        self.optimizers = optimizers(self.model, config.matrix_lr, config.other_lr)
        self.ema = Ema(self.model, config.ema_decay)
        self.bank = WorldBank(codec, config.worlds, config.world_cells, config.seed)
        self.step, self.seconds = 0, 0.0
        self.rows: list[dict[str, float]] = []

    @property
    def progress(self) -> float:
        """Share of the run's wall time that is spent."""
        return self.seconds / (3600 * self.config.hours)

    def train_step(self) -> None:
        start, progress = time.monotonic(), self.progress
        rng = np.random.default_rng((self.config.seed, self.step))
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        scale = min(1.0, progress / self.config.warmup) * max(0.02, (1 - progress) / 0.9)
        for optimizer, rate in zip(
            self.optimizers, (self.config.matrix_lr, self.config.other_lr), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, scale + 1e-4)
        batch = sample_batch(self.bank, self.config, rng)
        own_share = 0.5 if progress > self.config.own_context_from else 0.0
        errors, sigmas, x0_errors = loss_terms(self.model, self.rope, batch, self.config, own_share)
        errors.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.step += 1
        self.seconds += time.monotonic() - start
        self._log(float(errors.detach().mean()), sigmas, x0_errors)

    def _log(self, loss: float, sigmas: torch.Tensor, x0_errors: torch.Tensor) -> None:
        row = {"step": self.step, "seconds": round(self.seconds, 1), "loss": round(loss, 5)}
        for low, high in zip((0.0, *BANDS), BANDS, strict=False):
            inside = (sigmas >= low) & (sigmas < high)
            row[f"x0_error_to_{high:g}"] = round(float(x0_errors[inside].mean()), 5)
        self.rows.append(row)

    def save(self, out: Path) -> None:
        """Write the resumable checkpoint, the bf16 average and the loss curve."""
        out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state,
            "ema_step": self.ema.step,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
        }
        torch.save(state, out / "checkpoint.tmp")
        (out / "checkpoint.tmp").rename(out / "checkpoint.pt")
        save_bf16(self.model, self.ema.state, out / "transformer")
        write_loss(self.rows, out)

    def resume(self, out: Path) -> bool:
        """Load the checkpoint in `out`, if there is one."""
        path = out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.state, self.ema.step = state["ema"], state["ema_step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
        return True


def run(trainer: Trainer, out: Path, console: Console) -> None:
    """Train until the run's time is spent, saving every few minutes and at the end."""
    last_save = trainer.seconds
    while trainer.progress < 1:
        trainer.train_step()
        if trainer.step % 20 == 0:
            recent = trainer.rows[-20:]
            means = {key: np.nanmean([row[key] for row in recent]) for key in recent[0]}
            errors = " ".join(f"{means[f'x0_error_to_{band:g}']:.4f}" for band in BANDS)
            console.print(
                f"step {trainer.step} {100 * trainer.progress:.1f}% loss {means['loss']:.4f} "
                f"x0 error by noise band {errors}"
            )
        if trainer.seconds - last_save > 60 * trainer.config.checkpoint_minutes:
            trainer.save(out)
            last_save = trainer.seconds
    trainer.save(out)


def train_sides(out: Path, seed: int, console: Console) -> float:
    """Train codec and encoder where missing; return the codec's PSNR on unseen worlds in dB."""
    codec_path, encoder_path = out / "codec.safetensors", out / "encoder.safetensors"
    if not codec_path.exists():
        console.print("training the codec")
        train_codec(codec_path, seed=seed)
    codec = ToyCodec.load(codec_path)
    if not encoder_path.exists():
        console.print("training the retrieval encoder")
        train_encoder(codec, encoder_path, seed=seed)
    return reconstruction_psnr(codec, sample_views(24, np.random.default_rng(seed + 1000)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/toy"))
    parser.add_argument("--hours", type=float, default=TrainConfig.hours, help="of the transformer")
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    args = parser.parse_args()
    config = dataclasses.replace(TrainConfig(), hours=args.hours, seed=args.seed)
    console = Console()
    codec_db = train_sides(args.out, args.seed, console)
    console.print(f"painting {config.worlds} worlds")
    trainer = Trainer(config, ModelConfig(), ToyCodec.load(args.out / "codec.safetensors"))
    if trainer.resume(args.out):
        console.print(f"resuming at step {trainer.step}")
    run(trainer, args.out, console)
    write_card(args.out, ModelConfig(), config, trainer.rows, codec_db)


if __name__ == "__main__":
    main()
