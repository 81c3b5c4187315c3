"""reverie-encoder train: trains the retrieval autoencoder on a corpus of latents.

The same command again goes on after the last whole epoch, with the results of a training that was never
interrupted. On several devices: `torchrun --nproc-per-node 4 -m encoder train ...`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from encoder.commands.corpus import add_corpus, fail

if TYPE_CHECKING:
    from encoder.training.trainer import Trainer


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("train", help="train the autoencoder on a corpus", description=__doc__)
    add_corpus(parser, "folder or file of latents")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="what comes out goes here")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a Python file that defines `config`, or one of the bundled, such as reference; default: what "
        "the run folder was begun with, else reference",
    )
    parser.add_argument("--cpu", action="store_true", help="leave CUDA devices alone")
    parser.add_argument(
        "--workers", type=int, default=4, help="processes that read files ahead (default %(default)s)"
    )
    parser.add_argument(
        "--memory-gib",
        type=float,
        default=4,
        help="hold a corpus up to this size in memory (default %(default)s); larger ones stay in their files",
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from encoder.checkpoint import CheckpointError
    from encoder.corpus import CorpusError
    from encoder.training.config import TrainingError

    try:
        return _train(options)
    except (TrainingError, CorpusError, CheckpointError) as error:
        return fail(error)


def _train(options: argparse.Namespace) -> int:
    from encoder.corpus import Corpus
    from encoder.training.config import TrainingConfig, read_config
    from encoder.training.run_folder import RunFolder
    from encoder.training.trainer import Trainer, accelerator_for

    run = RunFolder(options.out)
    config = read_config(options.config) if options.config else run.config() or TrainingConfig()
    accelerator = accelerator_for(config, cpu=options.cpu)
    console = Console(quiet=not accelerator.is_main_process)
    trainer = Trainer(
        config,
        Corpus.open(options.corpus),
        run,
        accelerator,
        memory_bytes=int(options.memory_gib * 2**30),
        workers=options.workers,
    )
    console.print(_beginning(trainer), highlight=False, soft_wrap=True, markup=False)
    _run(trainer, console)
    return 0


def _beginning(trainer: Trainer) -> str:
    held = "in memory" if trainer.reader.in_memory else "read from files"
    number = trainer.accelerator.num_processes
    processes = "1 process" if number == 1 else f"{number} processes"
    return (
        f"{len(trainer.training)} videos to train on, {len(trainer.held_out)} held out, {held}; "
        f"{trainer.config.epochs} epochs of {trainer.epoch_steps} steps, {trainer.epochs_done} done; "
        f"{processes} of {trainer.accelerator.device.type}, precision {trainer.config.precision}"
    )


def _run(trainer: Trainer, console: Console) -> None:
    from encoder.training.progress import shown

    before, began = trainer.steps_done, time.monotonic()
    with shown(console, before) as watch:
        trainer.train(watch)
    seconds, steps = time.monotonic() - began, trainer.steps_done - before
    rate = f"{steps} steps in {seconds:.1f} s ({steps / seconds:.1f}/s); " if steps else ""
    best = (
        "no epoch is left to train"
        if trainer.best is None
        else f"lowest validation loss {trainer.best:.4f}: {trainer.run.best}"
    )
    console.print(rate + best, highlight=False, soft_wrap=True)
