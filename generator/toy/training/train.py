"""Train the toy: codec and transformer in turn (`python -m generator.toy.training.train`).

Schedules follow the clock, so that a run fits its time on any machine. What is found in `--out` is
not trained again, and a transformer's checkpoint there is resumed. The weights written are the
moving average; the folder is one that `reverie-generate --weights` takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from rich.console import Console

from generator.toy.attention import install
from generator.toy.card import read_loss, write_card, write_loss
from generator.toy.clips import WorldBank, sample_batch
from generator.toy.codec import ToyCodec
from generator.toy.config import ModelConfig, TrainConfig, phases
from generator.toy.model import Ema, build, optimizers, save_bf16
from generator.toy.training.objective import loss_terms
from generator.toy.training.train_codec import reconstruction_psnr, sample_views, train_codec

BANDS = (0.3, 0.6, 0.9, 1.01)
"""Upper ends of the noise bands whose x0 error is logged."""

COUNTERS = ("phase", "step", "seconds", "rows")
"""Fields of a trainer that a checkpoint keeps as they are."""


class Trainer:
    """Model, optimizers, moving average and log of a training in phases."""

    def __init__(self, configs: Sequence[TrainConfig], model: ModelConfig, codec: ToyCodec) -> None:
        self.configs, self.codec = configs, codec
        self.model = build(model, configs[0].seed)
        self.rope = install(self.model)
        if configs[0].compile:
            for block in self.model.blocks:
                block.compile(dynamic=False)
        self.optimizers = optimizers(self.model)
        self.ema = Ema(self.model, configs[0].ema_decay)
        self.phase, self.step, self.seconds = 0, 0, 0.0
        self.rows: list[dict[str, float]] = []

    @property
    def config(self) -> TrainConfig:
        return self.configs[self.phase]

    @property
    def progress(self) -> float:
        """Share of the phase's wall time that is spent."""
        return self.seconds / (3600 * self.config.hours)

    def train_phase(self, out: Path, console: Console) -> None:
        """Train until the phase's time is spent, saving every few minutes and at the end."""
        console.print(f"phase {self.phase + 1} of {len(self.configs)}: painting {self.config.worlds} worlds")
        bank = WorldBank(self.codec, self.config.worlds, self.config.world_cells, self.config.seed)
        last_save = self.seconds
        while self.progress < 1:
            self._train_step(bank)
            if self.step % 20 == 0:
                console.print(self._recent())
            if self.seconds - last_save > 60 * self.config.checkpoint_minutes:
                self.save(out)
                last_save = self.seconds
        if self.phase + 1 < len(self.configs):
            self.phase, self.seconds = self.phase + 1, 0.0
        self.save(out)

    def _train_step(self, bank: WorldBank) -> None:
        start, config = time.monotonic(), self.config
        rng = np.random.default_rng((config.seed, self.step))
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        self._set_rates()
        own_share = 0.5 if self.progress > config.own_context_from else 0.0
        batch = sample_batch(bank, config, rng)
        errors, sigmas, x0_errors = loss_terms(self.model, self.rope, batch, config, own_share)
        errors.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.step += 1
        self.seconds += time.monotonic() - start
        self._log(float(errors.detach().mean()), sigmas, x0_errors)

    def _set_rates(self) -> None:
        config = self.config
        rise, fall = self.progress / config.warmup, (1 - self.progress) / 0.9
        scale = min(1.0, min(1.0, rise) * max(0.02, fall) + 1e-4)
        for optimizer, rate in zip(self.optimizers, (config.matrix_lr, config.other_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale

    def _log(self, loss: float, sigmas: torch.Tensor, x0_errors: torch.Tensor) -> None:
        row = {"phase": self.phase, "step": self.step, "seconds": round(self.seconds, 1)}
        row["loss"] = round(loss, 5)
        for low, high in zip((0.0, *BANDS), BANDS, strict=False):
            inside = (sigmas >= low) & (sigmas < high)
            row[f"x0_error_to_{high:g}"] = round(float(x0_errors[inside].mean()), 5)
        self.rows.append(row)

    def _recent(self) -> str:
        rows = self.rows[-20:]
        means = {name: np.nanmean([row[name] for row in rows]) for name in rows[0]}
        errors = " ".join(f"{means[f'x0_error_to_{band:g}']:.4f}" for band in BANDS)
        return (
            f"step {self.step} {100 * self.progress:.1f}% loss {means['loss']:.4f} "
            f"x0 error by noise band {errors}"
        )

    def save(self, out: Path) -> None:
        """Write the resumable checkpoint, the bf16 average and the loss curve."""
        out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in COUNTERS},
            "ema_step": self.ema.step,
        }
        torch.save(state, out / "checkpoint.tmp")
        (out / "checkpoint.tmp").rename(out / "checkpoint.pt")
        save_bf16(self.model, self.ema.state, out / "transformer")
        write_loss(self.rows, out)

    def follow(self, weights: Path) -> None:
        """Go on from the transformer and the loss curve in `weights` with the phase after its last."""
        trained = WanTransformer3DModel.from_pretrained(weights / "transformer", torch_dtype=torch.float32)
        self.model.load_state_dict(trained.state_dict())
        self.ema = Ema(self.model, self.configs[0].ema_decay)
        self.rows = read_loss(weights)
        self.phase, self.step = int(self.rows[-1]["phase"]) + 1, int(self.rows[-1]["step"])
        if self.phase >= len(self.configs):
            raise ValueError(f"{weights} has all {len(self.configs)} phases; expected one that has fewer")

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
        for name in COUNTERS:
            setattr(self, name, state[name])
        return True


def fitted_codec(out: Path, follow: Path | None, seed: int, console: Console) -> ToyCodec:
    """The codec in the folder `out`, trained first if it is not there: anew, or from that in `follow`."""
    path = out / "codec.safetensors"
    if not path.exists():
        console.print("training the codec")
        train_codec(path, seed=seed, follow=follow and follow / "codec.safetensors")
    return ToyCodec.load(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/toy"))
    parser.add_argument("--hours", type=float, help="of the transformer's training; default: as on the card")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--follow",
        type=Path,
        metavar="WEIGHTS",
        help="go on from these: the decoder, and the phases that they lack",
    )
    args = parser.parse_args()
    console = Console()
    codec = fitted_codec(args.out, args.follow, args.seed, console)
    configs = phases(args.seed, args.hours)
    trainer = Trainer(configs, ModelConfig(), codec)
    if trainer.resume(args.out):
        console.print(f"resuming phase {trainer.phase + 1} at step {trainer.step}")
    elif args.follow:
        trainer.follow(args.follow)
    while trainer.progress < 1:
        trainer.train_phase(args.out, console)
    codec_db = reconstruction_psnr(codec, sample_views(24, np.random.default_rng(args.seed + 1000)))
    write_card(args.out, ModelConfig(), configs, trainer.rows, codec_db)


if __name__ == "__main__":
    main()
