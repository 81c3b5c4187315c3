"""One video's latents in a file: opened, checked and written.

Read are our safetensors files (written by `write_video`, and those that a rollout leaves beside its video),
safetensors files that say "layout" [B,C,T,H,W] in their metadata, with B = 1, and files of the reference,
which hold one tensor [T, C, H, W].

Shapes: T latent frames of a video; C, H, W of one frame. In our files `latents` is [T, C, H, W], `places`,
where they are known, int64 [T], and the one metadata entry "video" an object of strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from encoder.files import replacing

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""What latents may be, by the name that safetensors has for it."""

LATENTS, PLACES, ABOUT = "latents", "places", "video"
"""Tensors of our files, and their entry of metadata: one, since the order of several is not fixed."""

CHANNELS_FIRST = "[B,C,T,H,W]"

Shape = tuple[int, int, int]


class CorpusError(Exception):
    """Not a corpus, or a file of it is not what it should be; the message names the file and the field."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An open file: what it says, and readers of frames [start, stop) and of places."""

    num_frames: int
    latent_shape: Shape
    dtype: torch.dtype
    metadata: Mapping[str, str]
    read: Callable[[int, int], Tensor]
    places: Callable[[], Tensor | None]


@contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """Raises CorpusError, whatever a reader raises on a file that is none of its kind."""
    try:
        with _opened_safetensors(path) if path.suffix == ".safetensors" else _opened_torch(path) as stored:
            yield stored
    except CorpusError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"{path}: cannot be read: {type(error).__name__}: {reason}") from error


@contextmanager
def _opened_safetensors(path: Path) -> Iterator[Stored]:
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if LATENTS not in names:
            raise CorpusError(f"{path} has tensors {sorted(names)[:8]}; expected {LATENTS!r}")
        rows = file.get_slice(LATENTS)
        shape, about = tuple(rows.get_shape()), file.metadata() or {}
        dtype = DTYPES.get(rows.get_dtype(), rows.get_dtype())
        if about.get("layout", "").startswith(CHANNELS_FIRST) and len(shape) == 5 and shape[0] == 1:
            shape = (shape[2], shape[1], *shape[3:])

            def read(start: int, stop: int) -> Tensor:
                return rows[:, :, start:stop][0].transpose(0, 1).contiguous()
        else:

            def read(start: int, stop: int) -> Tensor:
                return rows[start:stop]

        stored = _described(path, shape, dtype, read)

        def places() -> Tensor | None:
            if PLACES not in names:
                return None
            return _checked_places(path, file.get_tensor(PLACES), stored.num_frames)

        yield replace(stored, metadata=_metadata(path, about), places=places)


@contextmanager
def _opened_torch(path: Path) -> Iterator[Stored]:
    latents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(latents, Tensor) or latents.layout != torch.strided:
        raise CorpusError(f"{path} is of type {type(latents).__name__}; expected one dense tensor")
    if latents.untyped_storage().nbytes() < latents.numel() * latents.element_size():
        raise CorpusError(f"{path} has {list(latents.shape)} latents, which its bytes do not hold")
    yield _described(
        path, tuple(latents.shape), latents.dtype, lambda start, stop: latents[start:stop].clone()
    )


def _described(
    path: Path, shape: Sequence[int], dtype: torch.dtype | str, read: Callable[[int, int], Tensor]
) -> Stored:
    _check_latents(path, shape, dtype)
    num_frames, channels, height, width = shape
    return Stored(
        num_frames=num_frames,
        latent_shape=(channels, height, width),
        dtype=dtype,
        metadata={},
        read=read,
        places=lambda: None,
    )


def _check_latents(path: Path, shape: Sequence[int], dtype: torch.dtype | str) -> None:
    if len(shape) != 4 or min(shape) < 1 or dtype not in DTYPES.values():
        raise CorpusError(
            f"{path}: {LATENTS} are {dtype} {list(shape)}; expected [T, C, H, W] of "
            f"{', '.join(str(known) for known in DTYPES.values())}"
        )


def _checked_places(path: Path, places: Tensor, num_frames: int) -> Tensor:
    if places.dtype != torch.int64 or tuple(places.shape) != (num_frames,):
        raise CorpusError(
            f"{path}: {PLACES} are {places.dtype} {list(places.shape)}; expected int64 [{num_frames}]"
        )
    return places


def _metadata(path: Path, about: Mapping[str, str]) -> Mapping[str, str]:
    if ABOUT not in about:
        return about
    told = json.loads(about[ABOUT])
    if not isinstance(told, dict) or any(not isinstance(value, str) for value in told.values()):
        raise CorpusError(
            f"{path}: metadata {ABOUT!r} is {about[ABOUT][:80]!r}; expected an object of strings"
        )
    return told


def write_video(
    path: Path | str, latents_TCHW: Tensor, metadata: Mapping[str, str], places: Tensor | None = None
) -> None:
    """Write one video whole or not at all; equal arguments give equal bytes.

    Raises CorpusError on latents that are not finite [T, C, H, W] of bfloat16, float16 or float32, on places
    that are not int64 [T], and on metadata that are not strings; OSError.
    """
    path = Path(path)
    if not path.name.endswith(".safetensors"):
        raise CorpusError(f"{path}: expected a name that ends in .safetensors")
    if any(not isinstance(text, str) for item in metadata.items() for text in item):
        raise CorpusError(f"{path}: metadata must be strings, got {dict(metadata)}")
    _check_latents(path, latents_TCHW.shape, latents_TCHW.dtype)
    if not latents_TCHW.isfinite().all():
        raise CorpusError(f"{path}: latents have values that are not finite")
    tensors = {LATENTS: latents_TCHW.detach().cpu().contiguous()}
    if places is not None:
        tensors[PLACES] = _checked_places(path, places, len(latents_TCHW)).contiguous()
    with replacing(path) as aside:
        aside.write_bytes(save(tensors, {ABOUT: json.dumps(dict(metadata), sort_keys=True)}))
