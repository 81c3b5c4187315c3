"""A study as files: `evaluation.md` with tables and figures, the tables as CSV, everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from encoder.evaluation import figures
from encoder.evaluation.results import about, tables
from encoder.evaluation.study import EmbeddingRow, Study
from encoder.files import replacing

FIGURES: dict[str, tuple[str, Callable[[Study, Path], None]]] = {
    "cosine_by_lag.png": ("Local collapse: cosine against lag", figures.cosine_by_lag),
    "retrieval.png": ("What is retrieved", figures.retrieval),
    "similarity.png": ("Cosine of every two frames of one video", figures.similarity),
}


def write(study: Study, folder: Path) -> list[Path]:
    """Write every file, each whole or not at all, and return their paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    embeddings, retrieval = tables(study)
    drawn = {name: title for name, (title, _) in FIGURES.items()}
    if not retrieval.rows:
        drawn.pop("retrieval.png")
    pictures = [f"![{title}]({name})\n" for name, title in drawn.items()]
    shown = [table.markdown() for table in (embeddings, retrieval) if table.rows]
    markdown = ["# Evaluation of the embedding", "", about(study), "", *shown, *pictures]
    texts = {
        "evaluation.md": "\n".join(markdown),
        "embeddings.csv": embeddings.csv(),
        "retrieval.csv": retrieval.csv(),
        "evaluation.json": json.dumps(record(study), indent=1, allow_nan=False) + "\n",
    }
    for name in drawn:
        with replacing(folder / name) as aside:
            FIGURES[name][1](study, aside)
    for name, text in texts.items():
        with replacing(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    return [folder / name for name in (*texts, *drawn)]


def record(study: Study) -> dict[str, Any]:
    """Everything measured, per video, in plain values."""
    return {
        "window": asdict(study.window),
        "machine": asdict(study.machine),
        "seed": study.seed,
        "pixels": study.pixels,
        "videos": [
            {"name": name, "frames": frames}
            for name, frames in zip(study.videos, study.num_frames, strict=True)
        ],
        "embeddings": [_embedding(row) for row in study.embeddings],
        "retrieval": [
            {"name": row.name, "policy": row.policy, "numbers": row.numbers} for row in study.retrievers
        ],
    }


def _embedding(row: EmbeddingRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "encoder": row.encoder.encoder_id,
        "dimension": row.encoder.embedding_dim,
        "work_per_frame": asdict(row.work),
        "numbers": row.numbers,
        "cosine_by_lag": [
            [None if np.isnan(cosine) else round(float(cosine), 6) for cosine in curve]
            for curve in row.curves
        ],
    }
