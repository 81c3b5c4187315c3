"""Everything that the latents of one video depend on, as its metadata in the memory say it.

A rollout whose process died is continued from this and the latents alone, and a branch of it is begun.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from encoder.model import Encoder
from generator.backbones import Backbone
from generator.errors import PlanError
from generator.kv.config import KVConfig
from generator.noise import NoisePart
from generator.requests.recording import versions
from generator.requests.request import Request
from generator.rollout_config import RolloutConfig
from generator.story.schedule import Schedule
from generator.story.switching import Switching
from generator.weights.weights_id import weights_id
from memory_service.types import Policy as Selection
from memory_service.types import VideoKey, VideoSpec

PLAN = "plan"
"""Key of the metadata."""

FORMAT = 2
"""1 had no `selection`."""

MUST_AGREE = ("method", "config", "backbone", "weights", "encoder", "dtype")
"""Fields that another value of would make another video."""

SHOULD_AGREE = ("numerics", "versions")
"""Fields that another value of may change the last bits."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one rollout makes; values of JSON."""

    method: str
    schedule: Mapping[str, Any]
    """Of `Schedule`."""
    num_frames: int
    latent_fps: float
    noise: tuple[NoisePart, ...]

    config: Mapping[str, Any]
    """The fields of `RolloutConfig`, each as its own: window, sampling, geometry and the like."""

    backbone: str
    weights: str
    """See `weights_id`."""
    encoder: str
    dtype: str

    loading: Mapping[str, Any]
    """Options of the command line that decide which model that is."""
    numerics: Mapping[str, Any]
    """What decides in which order sums are taken."""
    versions: Mapping[str, str]

    parent: str = ""
    """Of a fork: "pool/video@frame"."""
    format: int = field(default=FORMAT)

    @staticmethod
    def of(request: Request, config: RolloutConfig, backbone: Backbone, encoder: Encoder) -> Plan:
        """The plan of a request that is to be rolled out so."""
        parts = {name: asdict(part) for name, part in vars(config).items() if name != "policy"}
        parts["kv"] = config.kv.decisive()
        transformer = backbone.model.transformer
        plan = Plan(
            method=config.policy.name,
            schedule=request.schedule.to_json(),
            num_frames=request.num_frames,
            latent_fps=backbone.decoder.latent_fps,
            noise=request.noise,
            config=parts,
            backbone=backbone.name,
            weights=weights_id(transformer),
            encoder=encoder.encoder_id,
            dtype=str(backbone.model.dtype),
            loading=dict(request.loading),
            numerics={
                "device": backbone.model.device.type,
                "threads": torch.get_num_threads(),
                "model": type(backbone.model).__name__,
            },
            versions=versions(),
        )
        return Plan.from_json(plan.to_json())  # tuples of the configuration as JSON has them

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Plan:
        """Raises ValueError, KeyError and TypeError where the text is none of ours."""
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise PlanError(f"the plan has format {fields['format']}; expected {FORMAT}")
        return Plan(**{**fields, "noise": tuple(NoisePart(**part) for part in fields["noise"])})

    @staticmethod
    def read(key: VideoKey, spec: VideoSpec) -> Plan:
        """The plan of a video in the memory. Raises PlanError where it has none that can be read."""
        if PLAN not in spec.metadata:
            raise PlanError(f"video {key} has no {PLAN!r} in its metadata; expected one made by a rollout")
        try:
            return Plan.from_json(spec.metadata[PLAN])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"the plan of video {key} cannot be read: {error}") from error

    def check(self, key: VideoKey, now: Plan) -> None:
        """Raises PlanError where the video, whose plan this is, cannot be continued as things are now."""
        differing = self._differences(now, MUST_AGREE)
        if differing:
            raise PlanError(f"video {key} cannot be continued: " + "; ".join(differing))
        for difference in self._differences(now, SHOULD_AGREE):
            _log.warning("video=%s may differ in its last bits: %s", key, difference)

    def _differences(self, now: Plan, names: Sequence[str]) -> list[str]:
        return [word for name in names for word in _compared(name, getattr(self, name), getattr(now, name))]

    @property
    def block_frames(self) -> int:
        return int(self.config["window"]["block_frames"])

    def request(self, key: VideoKey, out: Path) -> Request:
        """What has to be asked for to make video `key` by this plan."""
        schedule = Schedule.from_json(self.schedule)
        selection = self.config["selection"]
        window = {name: size for name, size in self.config["window"].items() if name != "block_frames"}
        return Request(
            prompt=schedule.prompt,
            turns=schedule.turns,
            seed=self.noise[-1].seed,
            drawn=self.noise,
            resume=True,
            methods=(self.method,),
            num_frames=self.num_frames,
            pool=key.pool,
            video=key.video,
            out=out,
            block_frames=self.block_frames,
            window_changes=window,
            switching=Switching(**self.config["switching"]),
            kv=KVConfig(**self.config["kv"]),
            selection=Selection(**{**selection, "pinned_frames": tuple(selection["pinned_frames"])}),
            loading=self.loading,
        )


def _compared(name: str, was: Any, is_now: Any) -> Iterator[str]:
    """In words, where a value is not what it was; where values have fields, in which."""
    if isinstance(was, Mapping) and isinstance(is_now, Mapping):
        for part in sorted(was.keys() | is_now.keys()):
            yield from _compared(f"{name}.{part}", was.get(part), is_now.get(part))
    elif was != is_now:
        yield f"{name} is {is_now!r}; expected {was!r}"
