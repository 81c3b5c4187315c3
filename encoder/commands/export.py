"""reverie-encoder export: writes a training, or weights alone, in the format of LongLive-RAG."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.commands.corpus import fail

if TYPE_CHECKING:
    from encoder.training.run_folder import RunFolder


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("export", help="write the reference's format", description=__doc__)
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a run folder, whose last epoch can be gone on from, or a checkpoint, of which only weights are",
    )
    parser.add_argument("file", type=Path, metavar="FILE.pt")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from encoder import checkpoint
    from encoder.training.config import TrainingError
    from encoder.training.published import export_model
    from encoder.training.run_folder import RunFolder

    try:
        if options.source.is_dir():
            _export_run(RunFolder(options.source), options.file)
        else:
            export_model(checkpoint.load(options.source), options.file)
    except (TrainingError, checkpoint.CheckpointError, OSError) as error:
        return fail(error)
    return 0


def _export_run(run: RunFolder, file: Path) -> None:
    from encoder.training.config import TrainingError
    from encoder.training.published import export_training

    config, snapshot = run.config(), run.snapshot()
    if config is None or snapshot is None:
        raise TrainingError(f"{run.path} holds no training with a whole epoch")
    export_training(config, snapshot, file)
