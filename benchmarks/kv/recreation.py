"""What re-creation changes: keys and values per layer, and the block that attends them instead.

A rollout in exact mode goes on undisturbed; beside each of its blocks that retrieves, the same block is made
once more, from the same noise, with its retrieved frames re-created in each layout, or left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.kv.subjects import Subject, golden_subject, toy_subject
from generator.block_sampler import BlockSampler
from generator.course import Course
from generator.history.recalled import Recalled
from generator.kv.config import LAYOUTS, KVConfig
from generator.kv.device_tier import Parked
from generator.kv.host_tier import HostTier
from generator.kv.kv_cache import KVCache
from generator.kv.slots import FrameSlots
from generator.methods.context import Context
from generator.noise import BlockNoise
from generator.wan.kv_shape import KEY, VALUE
from memory_service.types import Handle, Span

LEFT_OUT = "left out"


@dataclass
class Difference:
    """Sums of squares, by layer and kind; relative RMS per block."""

    squares: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    """(layer, KEY or VALUE) -> of the errors, of what was expected."""

    blocks: list[float] = field(default_factory=list)
    frames: int = 0
    milliseconds: float = 0.0

    def add(self, actual: Tensor, expected: Tensor) -> None:
        """Slabs of one frame."""
        self.frames += 1
        for layer in range(len(expected)):
            for kind in (KEY, VALUE):
                ours, theirs = actual[layer, kind].double(), expected[layer, kind].double()
                sums = self.squares.setdefault((layer, kind), [0.0, 0.0])
                sums[0] += (ours - theirs).square().sum().item()
                sums[1] += theirs.square().sum().item()

    def of_layer(self, layer: int, kind: int) -> float:
        """Relative RMS error over all frames."""
        error, norm = self.squares[layer, kind]
        return (error / norm) ** 0.5


class Instead:
    """A rollout's cache as far as `FrameSlots` knows it, with other slabs of what it retrieves."""

    def __init__(self, cache: KVCache, slabs: Mapping[Handle, Tensor]) -> None:
        self.shape, self.slab = cache.shape, cache.slab
        self.tiers = self
        self._slabs = slabs

    def begin(self, span: Span, kept: Collection[int]) -> None:
        pass

    def prepare(self, handles: Sequence[Handle]) -> None:
        pass

    def stays(self) -> None:
        pass

    def take(self, handle: Handle, position: int) -> Parked:
        del position
        return Parked(self._slabs[handle])

    def give(self, parked: Parked) -> None:
        pass

    def loaded(self) -> None:
        pass


@torch.inference_mode()
def differences(subject: Subject) -> dict[str, Difference]:
    """Layout -> what it changes over one rollout, and what leaving the retrieved frames out does."""
    found = {name: Difference() for name in (*LAYOUTS, LEFT_OUT)}
    track, host = subject.track, HostTier()
    config = replace(subject.config, kv=KVConfig(device_frames=0))
    course = Course(config, track.scenes, len(track.rows))
    with subject.history() as history:
        sampler = BlockSampler(subject.model, course, track, history, host)
        recalled = Recalled()
        for index, span in enumerate(course.spans):
            context = sampler.attend(index, course.context(index, recalled, history))
            noise = subject.noise.block(index)
            latents = sampler.denoise(noise)
            if context.retrieved:
                compare(subject, sampler, context, noise, latents, host, found)
            embeddings = subject.encoder.encode(latents)
            history.remember(span.start, latents, embeddings, course.search(index + 1))
            sampler.recache(latents)
            recalled = history.recall()
    return found


def compare(
    subject: Subject,
    sampler: BlockSampler,
    context: Context,
    noise: BlockNoise,
    latents: Tensor,
    host: HostTier,
    found: Mapping[str, Difference],
) -> None:
    """Make one block again in every way; the rollout's own slots stay as they are."""
    handles = [placed.source for placed in context.retrieved if isinstance(placed.source, Handle)]
    for name, difference in found.items():
        slabs: Mapping[Handle, Tensor] = {}
        if name in LAYOUTS:
            recreation = sampler.recreation(name)
            slabs = recreation.recreate(handles)
            difference.milliseconds += recreation.taken().recreation_ms
            for handle in handles:
                difference.add(slabs[handle], host.get(handle))
        other = context if slabs else replace(context, retrieved=())
        again = made_with(subject, sampler, other, noise, slabs)
        difference.blocks.append(relative_rms(again, latents))


def made_with(
    subject: Subject,
    sampler: BlockSampler,
    context: Context,
    noise: BlockNoise,
    slabs: Mapping[Handle, Tensor],
) -> Tensor:
    """The block from the same noise, with these slabs of its retrieved frames."""
    model, config, own = subject.model, subject.config, sampler.slots
    cache = Instead(sampler.cache, slabs)
    sampler.slots = FrameSlots(cache, config.geometry, config.window, model.rotation, in_order=model.in_order)
    sampler.slots.load(context)
    again = sampler.denoise(noise)
    sampler.slots = own
    return again


def relative_rms(actual: Tensor, expected: Tensor) -> float:
    error = (actual.double() - expected.double()).square().mean() / expected.double().square().mean()
    return error.sqrt().item()


def report(golden: Path, blocks: int, command: str, where: str) -> str:
    """The page under benchmarks/results."""
    parts = [
        "# What re-creating keys and values changes",
        "",
        f"`{command}`. {where}.",
        "",
        "Relative RMS. Per layer: un-rotated keys / values of all retrieved frames against those that they "
        f"had. Block: latents of a block made with them, mean (largest) over blocks; `{LEFT_OUT}` is the "
        "same block without its retrieved frames, the size of what retrieval does at all.",
    ]
    for subject in (toy_subject(blocks), golden_subject(golden)):
        parts += ["", f"## {subject.name[0].upper()}{subject.name[1:]}", "", table(differences(subject))]
    return "\n".join(parts) + "\n"


def table(found: Mapping[str, Difference]) -> str:
    layers = 1 + max(layer for layer, _ in found[LAYOUTS[0]].squares)
    lines = [f"| | {' | '.join(found)} |", f"| --- |{' --: |' * len(found)}"]
    for layer in range(layers):
        cells = [
            f"{d.of_layer(layer, KEY):.1e} / {d.of_layer(layer, VALUE):.1e}" if d.squares else "-"
            for d in found.values()
        ]
        lines.append(f"| layer {layer} | {' | '.join(cells)} |")
    blocks = [f"{sum(d.blocks) / len(d.blocks):.1e} ({max(d.blocks):.1e})" for d in found.values()]
    spent = [f"{d.milliseconds / d.frames:.1f}" if d.frames else "-" for d in found.values()]
    lines += [f"| block | {' | '.join(blocks)} |", f"| ms a frame | {' | '.join(spent)} |"]
    return "\n".join(lines)
