"""One rollout of a batch, described by everything that its result depends on."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import memory_service
from generator.batch import weights
from generator.batch.fingerprints import Fingerprints, digest_of
from generator.batch.prompts import NamedPrompt
from generator.errors import ConfigError
from generator.options.groups import add_model, add_window
from generator.records.record import SUFFIXES, rollout_name

NOT_OF_RESULTS = frozenset(["checkpoint", "encoder", "text_cache", "weights"])
"""Options of the model that say where something lies; what lies there counts."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to make; nothing of where, when or by which worker."""

    name: str
    """Of its video in the pool and of its files."""

    prompt: str
    seed: int
    method: str
    recipe: Mapping[str, object]
    """What all jobs of a batch have in common, see `recipe`."""

    @property
    def description(self) -> dict[str, object]:
        """Values of JSON; two jobs of equal descriptions have equal latents."""
        own = {"name": self.name, "prompt": self.prompt, "seed": self.seed, "method": self.method}
        return {**own, **self.recipe}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the description."""
        return digest_of(self.description)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that it leaves."""
        return tuple(f"{self.name}{suffix}" for suffix in SUFFIXES)


def jobs_of(
    prompts: Sequence[NamedPrompt], seeds: Sequence[int], methods: Sequence[str], recipe: Mapping[str, object]
) -> list[Job]:
    """All combinations, those of one prompt together. Raises ConfigError where two would have one name."""
    jobs = [
        Job(
            name=rollout_name(f"{prompt.name}-s{seed}", method),
            prompt=prompt.text,
            seed=seed,
            method=method,
            recipe=recipe,
        )
        for prompt in prompts
        for seed in seeds
        for method in methods
    ]
    taken: dict[str, Job] = {}
    for job in jobs:
        if taken.setdefault(job.name, job) is not job:
            raise ConfigError(f"two jobs would be named {job.name!r}; expected other names of their prompts")
    return jobs


def recipe(options: argparse.Namespace, fingerprints: Fingerprints) -> dict[str, object]:
    """What a rollout by these options depends on beside prompt, seed and method.

    Every option of model and window counts, and the content of the weights wherever they lie. A field that is
    None is the backbone's own. Raises MissingFileError, OSError.
    """
    model = {name: getattr(options, name) for name in fields(add_model) if name not in NOT_OF_RESULTS}
    return {
        "num_frames": options.frames,
        "window": {name: getattr(options, name) for name in fields(add_window)},
        "model": model | {"device": device_kind(options)},
        "weights": weights.digests(options, fingerprints),
        "versions": versions(),
    }


def device_kind(options: argparse.Namespace) -> str:
    """What computes, "cuda" for "cuda:0,cuda:1": which of several is no matter. The toy knows but one."""
    return "cpu" if options.backbone == "toy" else options.device.partition(":")[0]


def fields(group: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """Names of the values that a group of options gives."""
    parser = argparse.ArgumentParser()
    group(parser)
    return sorted(vars(parser.parse_args([])))


def versions() -> dict[str, str]:
    """Of all that a result's bits may depend on; read without importing any of it."""
    others = {name: importlib.metadata.version(name) for name in ("diffusers", "torch")}
    return {"reverie": memory_service.__version__, **others}
