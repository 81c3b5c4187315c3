"""The training loop: AdamW on clips of consecutive frames, a validation and a snapshot every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from encoder.checkpoint import load_weights
from encoder.corpus import Corpus
from encoder.losses import Losses, losses
from encoder.model import LatentAE
from encoder.training import curve
from encoder.training.clips import (
    Clip,
    ClipReader,
    loader,
    noisy,
    split,
    training_batches,
    validation_batches,
)
from encoder.training.config import TrainingConfig, TrainingError
from encoder.training.run_folder import RunFolder
from encoder.training.snapshot import Snapshot, optimizer_tensors, restore_optimizer

Watch = Callable[[int, int, curve.Row | None], None]
"""Told after each step: steps done, steps in all, and, at the end of an epoch, its row."""


class Diverged(TrainingError):
    """A loss or a gradient is no finite number any more; what was kept is from before."""


def accelerator_for(config: TrainingConfig, *, cpu: bool = False) -> Accelerator:
    """Devices and precision. Raises TrainingError."""
    if config.precision == "fp16" and (cpu or not torch.cuda.is_available()):
        raise TrainingError("precision is fp16, which needs a CUDA device; expected bf16 or no")
    return Accelerator(cpu=cpu, mixed_precision=config.precision)


def new_model(config: TrainingConfig) -> LatentAE:
    """The autoencoder before its first step; a pure function of the configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LatentAE(config.model)


class Trainer:
    """One training in one run folder, begun there or gone on with."""

    def __init__(
        self,
        config: TrainingConfig,
        corpus: Corpus,
        run: RunFolder,
        accelerator: Accelerator,
        *,
        memory_bytes: int,
        workers: int = 0,
    ) -> None:
        """Raises TrainingError, CorpusError."""
        _check(config, corpus, accelerator)
        self.config, self.corpus, self.run, self.accelerator = config, corpus, run, accelerator
        self.training, self.held_out = split(corpus.videos, config)
        self.epoch_steps = len(self._batches(0))
        if accelerator.is_main_process:
            run.begin(config)
            run.take(corpus.videos, self.held_out)
        accelerator.wait_for_everyone()
        self.reader, self.workers = ClipReader(corpus, config.clip_frames, memory_bytes), workers
        self.model = new_model(config).to(accelerator.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.epochs_done, self.best, self.rows = 0, None, []
        self._wrapped, self._stepper = accelerator.prepare(self.model, self.optimizer)
        snapshot = run.snapshot()
        if snapshot is not None:
            self._restore(snapshot)

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.epoch_steps

    @property
    def steps_done(self) -> int:
        return self.epochs_done * self.epoch_steps

    def train(self, watch: Watch) -> None:
        """Train the epochs that are left. Raises Diverged, CorpusError."""
        try:
            while self.epochs_done < self.config.epochs:
                self._train_epoch(watch)
        finally:
            if self.rows and self.accelerator.is_main_process:
                self.run.draw_curve(self.rows)

    def snapshot(self) -> Snapshot:
        scaler = self.accelerator.scaler
        return Snapshot(
            epochs_done=self.epochs_done,
            model=self.model.state_dict(),
            optimizer=optimizer_tensors(self.model, self.optimizer),
            scaler=scaler.state_dict() if scaler is not None else {},
            best=self.best,
            rows=tuple(self.rows),
        )

    def _train_epoch(self, watch: Watch) -> None:
        self.model.train()
        sums = [0.0] * len(curve.TERMS)
        for step, clips in enumerate(self._load(self._batches(self.epochs_done))):
            terms = self._step(clips, step)
            sums = [total + term for total, term in zip(sums, terms, strict=True)]
            if step + 1 < self.epoch_steps:
                watch(self.steps_done + step + 1, self.total_steps, None)
        validation = self._validate()
        train = [total / self.epoch_steps for total in sums]
        steps = self.steps_done + self.epoch_steps
        self.rows.append(curve.row(self.epochs_done, steps, train, validation))
        is_best = self.best is None or sum(validation) < self.best
        self.best = sum(validation) if is_best else self.best
        self.epochs_done += 1
        if self.accelerator.is_main_process:
            self.run.keep(self.snapshot(), self.model, is_best=is_best)
        watch(steps, self.total_steps, self.rows[-1])

    def _step(self, clips: Tensor, step: int) -> list[float]:
        """One step of AdamW; the terms, mean over all processes."""
        accelerator, number = self.accelerator, self.steps_done + step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, number, self.total_steps)
        inputs = noisy(clips, self.config, self.epochs_done, step, accelerator.process_index)
        terms = self._losses(self._wrapped, inputs, clips)
        means = accelerator.reduce(torch.stack(terms).detach(), "mean").tolist()
        self._expect_finite(dict(zip(curve.TERMS, means, strict=True)), f"step {number}")
        self._stepper.zero_grad(set_to_none=True)
        accelerator.backward(terms.total)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm or math.inf)
        # A scaler looks for its largest scale by steps that overflow, and leaves these out.
        if accelerator.scaler is None:
            self._expect_finite({"gradient": float(norm)}, f"step {number}")
        self._stepper.step()
        return means

    @torch.no_grad()
    def _validate(self) -> list[float]:
        """Terms, mean over the clips that were held out."""
        self.model.eval()
        device = self.accelerator.device
        sums = torch.zeros(len(curve.TERMS) + 1, dtype=torch.float64, device=device)
        for clips in self._load(validation_batches(self.corpus.videos, self.held_out, self.config)):
            with self.accelerator.autocast():
                terms = torch.stack(self._losses(self.model, clips, clips))
            sums += len(clips) * torch.cat((terms, terms.new_ones(1)))
        sums = self.accelerator.reduce(sums, "sum")
        terms = (sums[:-1] / sums[-1]).tolist()
        self._expect_finite(dict(zip(curve.TERMS, terms, strict=True)), f"validation {self.epochs_done}")
        return terms

    def _losses(self, model: nn.Module, inputs: Tensor, clips: Tensor) -> Losses:
        reconstruction, embeddings = model(inputs.flatten(0, 1))
        embeddings_BSD = embeddings.unflatten(0, clips.shape[:2])
        return losses(reconstruction, clips.flatten(0, 1), embeddings_BSD, self.config.losses)

    def _batches(self, epoch: int) -> list[list[Clip]]:
        return training_batches(self.corpus.videos, self.training, self.config, epoch)

    def _load(self, batches: Sequence[Sequence[Clip]]) -> Iterator[Tensor]:
        """This process's share of each batch, on its device."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        shares = [share for batch in batches if (share := batch[rank::processes])]
        device = self.accelerator.device
        for clips in loader(self.reader, shares, workers=self.workers, pinned=device.type == "cuda"):
            yield clips.to(device, non_blocking=True)

    def _expect_finite(self, values: dict[str, float], where: str) -> None:
        broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            kept = f"{self.run.path} has the {self.epochs_done} epochs before it"
            raise Diverged(f"{', '.join(broken)} in {where}, epoch {self.epochs_done}; {kept}")

    def _restore(self, snapshot: Snapshot) -> None:
        load_weights(self.model, snapshot.model)
        restore_optimizer(self.model, self.optimizer, snapshot.optimizer)
        if self.accelerator.scaler is not None and snapshot.scaler:
            self.accelerator.scaler.load_state_dict(dict(snapshot.scaler))
        self.epochs_done, self.best, self.rows = snapshot.epochs_done, snapshot.best, [*snapshot.rows]
        if self.accelerator.is_main_process:
            self.run.write_curve(self.rows)


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Of the given step, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * step / total_steps)) / 2


def _check(config: TrainingConfig, corpus: Corpus, accelerator: Accelerator) -> None:
    expected = config.model.latent_shape
    if corpus.latent_shape != expected:
        raise TrainingError(
            f"model is for latent frames of {list(expected)}, the corpus has {list(corpus.latent_shape)}"
        )
    if config.batch_clips % accelerator.num_processes:
        raise TrainingError(
            f"batch_clips is {config.batch_clips}; expected a multiple of the processes, "
            f"{accelerator.num_processes}"
        )
