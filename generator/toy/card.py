"""What a training run leaves beside its weights: the loss curve, and a card with machine and time."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from generator.toy.config import ModelConfig, TrainConfig

SMOOTHING = 20
"""Steps over which the drawn curve is averaged."""


def write_loss(rows: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Write loss.csv, one row a step, and loss.png."""
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    (folder / "loss.csv").write_text("\n".join(lines) + "\n")
    figure, axes = plt.subplots(figsize=(7, 4))
    minutes = elapsed(rows) / 60
    for name in [key for key in rows[0] if key.startswith(("loss", "x0"))]:
        values = np.array([row[name] for row in rows])
        axes.plot(minutes, _smooth(values), label=name.replace("_", " ").replace("to", "up to sigma"))
    axes.set(
        xlabel="minutes of all phases", ylabel="mean squared error", yscale="log", title="Training of the toy"
    )
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=90)
    plt.close(figure)


def read_loss(folder: Path) -> list[dict[str, float]]:
    """The rows of a loss.csv that write_loss wrote."""
    names, *lines = (folder / "loss.csv").read_text().splitlines()
    return [dict(zip(names.split(","), map(float, line.split(",")), strict=True)) for line in lines]


def write_card(
    folder: Path,
    model: ModelConfig,
    phases: Sequence[TrainConfig],
    rows: Sequence[Mapping[str, float]],
    codec_db: float,
    note: str = "",
) -> None:
    """Write README.md: what the weights are, how they were made, on what and for how long."""
    last, names = rows[-SMOOTHING:], list(rows[0])[3:]
    losses = ", ".join(f"{name} {np.nanmean([row[name] for row in last]):.4f}" for name in names)
    training = "\n".join(f"- phase {n + 1}: {_listed(asdict(phase))}" for n, phase in enumerate(phases))
    text = f"""# The toy's weights

| file | what it is |
|---|---|
| `transformer/` | stock diffusers `WanTransformer3DModel`, bf16, moving average of the training's weights |
| `codec.safetensors` | linear encoder and convolutional decoder, {codec_db:.1f} dB on unseen worlds |
| `encoder.safetensors` | retrieval autoencoder, by `make toy-encoder` from rollouts of this transformer |
| `loss.csv`, `loss.png` | training of the transformer, step by step |

Made by `make toy`. The world is painted by `generator/toy/world.py`; no outside data took part.

- machine: {processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}{note}
- transformer: {rows[-1]["step"]:.0f} steps in {elapsed(rows)[-1] / 60:.0f} minutes; last {SMOOTHING}:
  {losses}
- model: {_listed(asdict(model))}
{training}
"""
    (folder / "README.md").write_text(text)


def elapsed(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Seconds since the start of the first phase, for each row."""
    clock = np.array([row["seconds"] for row in rows])
    new_phase = np.flatnonzero(np.diff([row["phase"] for row in rows])) + 1
    spent = np.zeros_like(clock)
    for start in new_phase:
        spent[start:] += clock[start - 1]
    return clock + spent


def processor() -> str:
    """Name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _smooth(values: np.ndarray) -> np.ndarray:
    kernel = np.ones(min(SMOOTHING, len(values)))
    known = np.nan_to_num(values)
    present = np.convolve(~np.isnan(values), kernel, mode="same")
    return np.convolve(known, kernel, mode="same") / np.maximum(present, 1)


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
