"""Small trainings on the committed pans, in process, and in a process that kills itself at a given moment."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from encoder.configs.debug import config as debug
from encoder.corpus import Corpus
from encoder.training.config import TrainingConfig
from encoder.training.run_folder import RunFolder
from encoder.training.snapshot import Snapshot
from encoder.training.trainer import Trainer, accelerator_for

PANS = Path(__file__).parent / "fixtures" / "encoder_pans"
SHORT = replace(debug, epochs=4, clips_per_video=4, schedule="cosine", noise=0.1)
"""Four epochs of four steps, with all that could be forgotten on the way: noise, and a rate that changes."""


def trainer(
    run: Path, config: TrainingConfig = SHORT, corpus: Path = PANS, memory_bytes: int = 2**30
) -> Trainer:
    accelerator = accelerator_for(config, cpu=True)
    return Trainer(config, Corpus.open(corpus), RunFolder(run), accelerator, memory_bytes=memory_bytes)


def train(run: Path, config: TrainingConfig = SHORT, corpus: Path = PANS) -> Trainer:
    training = trainer(run, config, corpus)
    training.train(lambda *_: None)
    return training


def train_until_killed(run: Path, moment: str, number: int) -> None:
    """Die by SIGKILL after so many steps, or where so many states have been written but for the last one."""
    torch.set_num_threads(1)
    training = trainer(run)

    def die_at(value: int) -> None:
        if value == number:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "step":
        training.train(lambda steps, *_: die_at(steps))
    elif moment == "state":
        whole = Snapshot.save

        def save(snapshot: Snapshot, path: Path) -> None:
            die_at(snapshot.epochs_done)
            whole(snapshot, path)

        Snapshot.save = save
        training.train(lambda *_: None)


if __name__ == "__main__":
    train_until_killed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
