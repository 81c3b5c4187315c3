"""What one rollout leaves beside its pictures: a JSON file with its settings, timings and retrievals.

Frame numbers are latent frames; times are milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from generator.kv.traffic import Traffic
from generator.records.revisit import RevisitScore
from generator.story.schedule import Turn

MAIN_METHOD = "longlive_rag"

VIDEO, LATENTS, RECORD = SUFFIXES = (".mp4", ".latents.safetensors", ".json")
"""Endings of the files of one rollout, after its name."""

SIDE_BY_SIDE = ".side_by_side.mp4"
"""Ending of the file that plays all methods of a video."""


def rollout_name(video: str, method: str) -> str:
    """Name of one rollout in its pool and folder: the video's own, or with the method for a control."""
    return video if method == MAIN_METHOD else f"{video}-{method}"


@dataclass(frozen=True, kw_only=True)
class RetrievedFrame:
    """One hit that a block attended: its handle's parts and its score, the cosine to the query."""

    pool: str
    video: str
    epoch: int
    frame: int
    score: float


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """One block: the latent frames [start, stop), where its time went, and what it attended."""

    start: int
    stop: int
    parts_ms: Mapping[str, float]
    """Part of the block -> milliseconds, "total" among them; `report.time_table` says which run at once."""

    retrieved: tuple[RetrievedFrame, ...] = ()

    kv: Traffic = field(default_factory=Traffic)
    """Where retrieved keys and values were found, and bytes that were moved."""

    degraded: str = ""
    """Why the memory could not be asked for it."""

    replayed: bool = False
    """Whether the memory had it before this run, which then only made its keys and values again."""


@dataclass(frozen=True, kw_only=True)
class RolloutRecord:
    """One rollout from start to end."""

    pool: str
    video: str
    method: str
    prompt: str
    seed: int
    latent_fps: float
    """Latent frames per second of video."""

    fps: float
    """Pixel frames per second of video."""

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    blocks: tuple[BlockRecord, ...]
    camera_cells: tuple[int, ...] = ()
    """Where the camera of each latent frame stands, in worlds that know; empty elsewhere."""

    revisit: RevisitScore | None = None
    """How alike returned-to views are to their first visits; None where the camera never came back, and where
    the prompt changes, since then the place does too."""

    turns: tuple[Turn, ...] = ()
    """Where another prompt begins; `settings` has what becomes of the past there, under "switching"."""

    @property
    def num_frames(self) -> int:
        return self.blocks[-1].stop

    @property
    def kv(self) -> Traffic:
        """Of all blocks."""
        return Traffic.total(block.kv for block in self.blocks)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> RolloutRecord:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["blocks"] = tuple(_block(block) for block in fields["blocks"])
        fields["camera_cells"] = tuple(fields["camera_cells"])
        fields["revisit"] = fields["revisit"] and RevisitScore(**fields["revisit"])
        fields["turns"] = tuple(Turn(**turn) for turn in fields.get("turns", ()))
        return RolloutRecord(**fields)


def _block(fields: dict) -> BlockRecord:
    retrieved = tuple(RetrievedFrame(**hit) for hit in fields["retrieved"])
    return BlockRecord(**{**fields, "retrieved": retrieved, "kv": Traffic(**fields.get("kv", {}))})
