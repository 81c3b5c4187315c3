"""reverie-encoder import: begins a run folder with a training of LongLive-RAG; `train` goes on with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from encoder.commands.corpus import fail


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("import", help="begin with a training of the reference", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.pt")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from encoder.checkpoint import CheckpointError, from_weights
    from encoder.training.config import TrainingError
    from encoder.training.published import import_training
    from encoder.training.run_folder import RunFolder

    run = RunFolder(options.out)
    try:
        config, snapshot = import_training(options.file)
        if run.config() is not None:
            raise TrainingError(f"{run.path} holds a training already; expected a new folder")
        run.begin(config)
        run.keep(snapshot, from_weights(config.model, snapshot.model), is_best=False)
    except (CheckpointError, TrainingError, OSError) as error:
        return fail(error)
    return 0
