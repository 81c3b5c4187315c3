"""The autoencoders of the ablation: one corpus of the toy's rollouts, one recipe, three choices of losses."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from encoder.__main__ import main as reverie_encoder

CORPUS_PROMPTS = "toy:32"
CORPUS_FRAMES = 240
CONFIGS = {"ae": "toy_reconstruction", "delta": "toy_delta", "full": "toy"}
"""Name of an encoder -> its bundled configuration: reconstruction alone, with the temporal delta, with
smoothness as well."""


class PreparationError(Exception):
    """A command that makes something for the ablation failed; it has said why."""


def trained(weights: Path, out: Path, workers: int, console: Console) -> dict[str, Path]:
    """Checkpoints of the encoders, by name; what is missing of them and of their corpus is made first.

    Raises PreparationError, also where what is there was made otherwise.
    """
    corpus = out / "corpus"
    console.print(f"corpus: {CORPUS_PROMPTS}")
    _run(
        *("corpus", "rollouts", "--prompts", CORPUS_PROMPTS, "--frames", str(CORPUS_FRAMES)),
        *("--weights", str(weights), "--workers", str(workers), "--out", str(corpus)),
    )
    checkpoints = {}
    for name, config in CONFIGS.items():
        console.print(f"encoder {name}")
        run = out / "encoders" / name
        _run("train", "--corpus", str(corpus), "--config", config, "--out", str(run), "--cpu")
        best, centred = run / "best.safetensors", run / "centred.safetensors"
        if not centred.exists():
            _run("centre", str(best), "--corpus", str(corpus), "--out", str(centred), "--cpu")
        checkpoints[name] = centred
    return checkpoints


def _run(*words: str) -> None:
    if reverie_encoder(words):
        raise PreparationError(f"reverie-encoder {' '.join(words)} failed")
