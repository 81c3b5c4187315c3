"""Videos of a memory as files of a corpus. Frames are fetched a few at a time, however long a video is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from encoder.corpus import CorpusError, describe, write_video
from generator.batch.batch import say
from generator.corpus.folder import SUFFIX, collecting
from generator.corpus.places import about_places, known_places
from generator.errors import ConfigError
from generator.history.past import handles_of
from generator.history.payloads import latents_of
from generator.processes.progress import Meter, meter_for
from generator.requests.plan import PLAN
from memory_service.errors import NotFound
from memory_service.memory import Memory
from memory_service.types import LATENT, VideoInfo, VideoKey

SOURCE = "memory"
"""Entry of a file's metadata: pool, video, epoch and length that it was taken of, as JSON."""

FETCHED_BYTES = 16_000_000
"""Latents that one call asks for, about."""

LISTED = 1000
"""Videos that one call lists."""


def take_pool(options: argparse.Namespace, memory: Memory, console: Console) -> None:
    """Write a file for every video that has none of its present state.

    Raises NotFound for a video that is asked for and not there, ConfigError where there is nothing to take
    and where shapes differ, CorpusError, OSError and the errors of the memory.
    """
    infos = list(chosen(options, memory))
    short = [info.key.video for info in infos if info.state.length < options.min_frames]
    long = [info for info in infos if info.state.length >= options.min_frames]
    check_shapes(long, options)
    with collecting(options.out):
        to_take = [info for info in long if not is_there(info, options.out)]
        gone = take_all(to_take, memory, options.out, console) if to_take else []
    say(console, *(f"left out, under {options.min_frames} frames: {name}" for name in short))
    say(console, *(f"left out, dropped or rolled back meanwhile: {name}" for name in gone))
    there = len(long) - len(to_take)
    say(console, f"{len(to_take) - len(gone)} taken, {there} there before; {options.out}")


def take_all(infos: Sequence[VideoInfo], memory: Memory, out: Path, console: Console) -> list[str]:
    """Write these; the names of those that were dropped or rolled back meanwhile."""
    label = f"pool {infos[0].key.pool}"
    with meter_for(console) as meter:
        meter.plan(label, sum(info.state.length for info in infos))
        meter.begin(label)
        gone = [info.key.video for info in infos if not take(info, memory, out, meter, label)]
        meter.end(label)
    return gone


def chosen(options: argparse.Namespace, memory: Memory) -> Iterator[VideoInfo]:
    """Those that are asked for, or all of the pool by name. Raises NotFound."""
    if options.videos:
        names = dict.fromkeys(options.videos)
        yield from (memory.get_video(VideoKey(options.pool, name)) for name in names)
        return
    memory.get_pool(options.pool)
    after = ""
    while page := memory.list_videos(options.pool, after=after, limit=LISTED):
        yield from page
        after = page[-1].key.video


def check_shapes(infos: Sequence[VideoInfo], options: argparse.Namespace) -> None:
    """Raises ConfigError where no video is long enough, or not all have one shape."""
    if not infos:
        raise ConfigError(
            f"pool {options.pool!r} has no video of at least {options.min_frames} frames; expected another "
            "--pool or --min-frames"
        )
    first = infos[0]
    for info in infos:
        shapes = [list(each.spec.latent_shape) for each in (first, info)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 3:
            raise ConfigError(
                f"{first.key} has latents of {shapes[0]}, {info.key} of {shapes[1]}; expected --videos of "
                "one shape [C, H, W]"
            )


def is_there(info: VideoInfo, out: Path) -> bool:
    """Whether the folder has the video as it is now.

    Raises CorpusError where a file of its name cannot be read or is not of this video.
    """
    path = out / f"{info.key.video}{SUFFIX}"
    if not path.exists():
        return False
    try:
        was = json.loads(describe(path).metadata[SOURCE])
        same = (was["pool"], was["video"]) == (info.key.pool, info.key.video)
    except (KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise CorpusError(f"{path} was not taken of {info.key}; expected another --out")
    return was == source(info)


def source(info: VideoInfo) -> dict[str, object]:
    return {
        "pool": info.key.pool,
        "video": info.key.video,
        "epoch": info.state.epoch,
        "length": info.state.length,
    }


def take(info: VideoInfo, memory: Memory, out: Path, meter: Meter, label: str) -> bool:
    """Write one video; whether its frames were still there. Raises the errors of memory and files."""
    try:
        latents = torch.cat(list(fetched(info, memory, meter, label)))
    except (NotFound, KeyError):  # a frame that a search no longer finds, or a handle that has become stale
        return False
    spec, num_frames = info.spec, info.state.length
    prompt = "" if "schedule" in spec.metadata else spec.metadata.get("prompt", "")
    places = known_places(spec.metadata.get("backbone", ""), prompt, num_frames) if prompt else None
    about = {name: text for name, text in spec.metadata.items() if name != PLAN} | {
        "frames": str(num_frames),
        "encoder": spec.encoder_id,
        **about_places(places),
        SOURCE: json.dumps(source(info), sort_keys=True),
    }
    write_video(out / f"{info.key.video}{SUFFIX}", latents, about, places)
    return True


def fetched(info: VideoInfo, memory: Memory, meter: Meter, label: str) -> Iterator[Tensor]:
    """Latents [n, C, H, W] of the frames in order, in the dtype of the video."""
    handles = handles_of(memory, info)
    at_once = max(1, FETCHED_BYTES // info.spec.latent_bytes)
    for start in range(0, len(handles), at_once):
        frames = memory.fetch(handles[start : start + at_once], [LATENT])
        yield latents_of([frame.parts[LATENT] for frame in frames], info.spec)
        meter.advance(label, len(frames))
