"""All numbers of all embeddings and retrievers over a corpus, video by video.

Every number is kept per video; means and intervals over videos are made when they are shown. T frames, D
embedding dimension, V videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoder.evaluation.choices import Choice, Numbers, found, latent_likeness, variety
from encoder.evaluation.cost import Machine, Work, measure_machine, seconds_per_frame, work
from encoder.evaluation.geometry import cosine_by_lag, geometry
from encoder.evaluation.retrievers import (
    NEAREST_PLACE,
    ORACLE,
    RANDOM,
    RECENT,
    ByEmbedding,
    Measured,
    NearestPlace,
    Newest,
    Oracle,
    Randomly,
    Retriever,
)
from encoder.evaluation.selection import Selection, cosine_matrix
from encoder.evaluation.subjects import Video, views_of
from encoder.evaluation.video_file import PixelVideo
from encoder.evaluation.window import Window
from encoder.model import Encoder

ENCODED_AT_ONCE = 64
TIMED_BLOCKS = 16
"""Blocks of each video whose embedding is timed, evenly spread over it."""


@dataclass(kw_only=True)
class EmbeddingRow:
    """What is known of one embedding; lists and rows have one item per video."""

    name: str
    encoder: Encoder
    work: Work
    numbers: list[Numbers] = field(default_factory=list)
    curves: list[NDArray[np.float64]] = field(default_factory=list)
    """Mean cosine by lag, [64] each."""

    def column(self, name: str) -> list[float | None]:
        return [numbers.get(name) for numbers in self.numbers]


@dataclass(kw_only=True)
class RetrieverRow:
    """What is known of one way of choosing frames."""

    name: str
    retriever: Retriever
    policy: str = ""
    needs_truth: bool = False
    numbers: list[Numbers] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """No video gave a number: each is too short, or lacks the truth."""
        return all(number is None for numbers in self.numbers for number in numbers.values())

    @property
    def title(self) -> str:
        return f"{self.name}, {self.policy}" if self.policy else self.name

    def column(self, name: str) -> list[float | None]:
        return [numbers.get(name) for numbers in self.numbers]


@dataclass(kw_only=True)
class Study:
    """Everything that was measured."""

    window: Window
    machine: Machine
    seed: int
    embeddings: list[EmbeddingRow]
    retrievers: list[RetrieverRow]
    videos: list[str] = field(default_factory=list)
    num_frames: list[int] = field(default_factory=list)
    num_with_truth: int = 0
    """Videos whose places are known."""

    pixels: bool = False
    """Some are decoded video, not latents."""

    example: Measured | None = None
    """The first video with truth, else the first: its matrices are drawn."""


def measure(
    videos: Iterable[Video],
    encoders: Mapping[str, Encoder],
    selections: Sequence[Selection],
    window: Window,
    seed: int = 0,
) -> Study:
    """Embed every video and let every retriever choose for each of its blocks. Raises CorpusError."""
    study = Study(window=window, machine=measure_machine(), seed=seed, embeddings=[], retrievers=[])
    study.retrievers = _retrievers(encoders, selections, window, seed)
    for video in videos:
        latents_TCHW = video.latents()
        if not study.embeddings:
            block = latents_TCHW[: window.block_frames]
            study.embeddings = [
                EmbeddingRow(name=name, encoder=encoder, work=work(encoder, block))
                for name, encoder in encoders.items()
            ]
        study.videos.append(video.name)
        study.num_frames.append(len(latents_TCHW))
        study.pixels |= isinstance(video, PixelVideo)
        _measure_video(study, video, latents_TCHW)
    return study


def _measure_video(study: Study, video: Video, latents_TCHW: Tensor) -> None:
    subject = Measured(name=video.name, cosines={}, views=views_of(video))
    for row in study.embeddings:
        embeddings_TD = _embed(row.encoder, latents_TCHW)
        subject.cosines[row.name] = cosine_matrix(embeddings_TD)
        row.curves.append(cosine_by_lag(subject.cosines[row.name]))
        seconds = seconds_per_frame(row.encoder, _some_blocks(latents_TCHW, study.window.block_frames))
        cost = {"us_per_frame": 1e6 * seconds, "times_floor": seconds / row.work.floor_s(study.machine)}
        row.numbers.append(geometry(embeddings_TD, row.curves[-1]) | cost)
    likeness = latent_likeness(latents_TCHW.float().flatten(1).numpy())
    for row in study.retrievers:
        unknown = subject.views is None and row.needs_truth
        row.numbers.append({} if unknown else _judge(row.retriever, subject, likeness, study.window))
    study.num_with_truth += subject.views is not None
    if study.example is None or (study.example.views is None and subject.views is not None):
        study.example = subject


def _judge(retriever: Retriever, subject: Measured, likeness: NDArray[np.float32], window: Window) -> Numbers:
    choices = [
        Choice(step, tuple(retriever.choose(subject, step.query, step.eligible, window.top_k)))
        for step in window.steps(len(likeness))
    ]
    truth = found(choices, subject.views, window.top_k) if subject.views is not None else {}
    return truth | variety(choices, likeness)


def _retrievers(
    encoders: Mapping[str, Encoder], selections: Sequence[Selection], window: Window, seed: int
) -> list[RetrieverRow]:
    return [
        RetrieverRow(name=RANDOM, retriever=Randomly(seed)),
        RetrieverRow(name=RECENT, retriever=Newest()),
        *(
            RetrieverRow(name=name, retriever=ByEmbedding(name, selection), policy=str(selection))
            for name in encoders
            for selection in selections
        ),
        RetrieverRow(name=NEAREST_PLACE, retriever=NearestPlace(), needs_truth=True),
        RetrieverRow(name=ORACLE, retriever=Oracle(window), needs_truth=True),
    ]


def _embed(encoder: Encoder, latents_TCHW: Tensor) -> NDArray[np.float32]:
    parts = [encoder.encode(part) for part in latents_TCHW.split(ENCODED_AT_ONCE)]
    return torch.cat(parts).cpu().numpy()


def _some_blocks(latents_TCHW: Tensor, block_frames: int) -> list[Tensor]:
    blocks = [part for part in latents_TCHW.split(block_frames) if len(part) == block_frames]
    chosen = np.unique(np.linspace(0, len(blocks) - 1, min(TIMED_BLOCKS, len(blocks))).round().astype(int))
    return [blocks[number] for number in chosen] or [latents_TCHW]
