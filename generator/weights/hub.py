"""Published weights: which files each backbone needs, where they lie below a root, and how to fetch them.

Everything of a repository OWNER/NAME lies in ROOT/NAME, under the names that it has there. Nothing here
downloads: the commands are for whoever runs them. Loads no torch, so that asking costs nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from generator.errors import MissingFileError


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face hub."""

    repo: str
    path: str
    num_bytes: int | None
    """Size as the hub's pages round it, or as others noted it; None where it is not known."""

    def below(self, root: Path) -> Path:
        """Where it lies once it is fetched."""
        return root / self.repo.partition("/")[2] / self.path


Places: TypeAlias = tuple[HubFile, ...]
"""Where one file is published, the original first; any of them will do."""

RAG = "qixinhu11/LongLive-RAG"
LONGLIVE = "Efficient-Large-Model/LongLive-1.3B"
WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"

GENERATORS: Mapping[str, tuple[Places, ...]] = {
    "self_forcing": (
        (
            HubFile("gdhe17/Self-Forcing", "checkpoints/self_forcing_dmd.pt", 5_680_000_000),
            HubFile(RAG, "checkpoints/self_forcing.pt", None),
        ),
    ),
    "causal_forcing": (
        (
            HubFile("zhuhz22/Causal-Forcing", "chunkwise/causal_forcing.pt", 5_680_000_000),
            HubFile(RAG, "checkpoints/causal_forcing.pt", None),
        ),
    ),
    "longlive": (
        (
            HubFile(LONGLIVE, "models/longlive_base.pt", 5_676_334_208),
            HubFile(RAG, "checkpoints/longlive_base.pt", None),
        ),
        (
            HubFile(LONGLIVE, "models/lora.pt", 2_800_056_690),
            HubFile(RAG, "checkpoints/longlive_lora.pt", None),
        ),
    ),
}
"""Backbone -> the files of its generator."""

ENCODER: Places = (HubFile(RAG, "checkpoints/ae_latent_mem.pt", None),)
"""The published retrieval encoder."""

BASE: tuple[HubFile, ...] = (
    HubFile(WAN, "tokenizer/special_tokens_map.json", 7_080),
    HubFile(WAN, "tokenizer/spiece.model", 4_550_000),
    HubFile(WAN, "tokenizer/tokenizer.json", 16_800_000),
    HubFile(WAN, "tokenizer/tokenizer_config.json", 61_800),
    HubFile(WAN, "text_encoder/config.json", 854),
    HubFile(WAN, "text_encoder/model.safetensors.index.json", 22_500),
    HubFile(WAN, "text_encoder/model-00001-of-00005.safetensors", 4_970_000_000),
    HubFile(WAN, "text_encoder/model-00002-of-00005.safetensors", 4_900_000_000),
    HubFile(WAN, "text_encoder/model-00003-of-00005.safetensors", 4_970_000_000),
    HubFile(WAN, "text_encoder/model-00004-of-00005.safetensors", 5_000_000_000),
    HubFile(WAN, "text_encoder/model-00005-of-00005.safetensors", 2_890_000_000),
    HubFile(WAN, "vae/config.json", 724),
    HubFile(WAN, "vae/diffusion_pytorch_model.safetensors", 508_000_000),
)
"""What all of them share: tokenizer, text encoder and autoencoder of Wan 2.1."""

TOKENIZER = "tokenizer.json"
SPARE = ("spiece.model", "special_tokens_map.json")
"""What TOKENIZER says as well: tokenizers saved by newer versions of transformers have neither."""

WEIGHTS = ".safetensors"
INDEX = f"{WEIGHTS}.index.json"


def base_folder(root: Path) -> Path:
    """The folder in diffusers' layout that BASE fills."""
    return root / WAN.partition("/")[2]


def locate(places: Places, root: Path) -> Path:
    """The file at the first place that has it. Raises MissingFileError with the command that fetches it."""
    for place in places:
        if place.below(root).is_file():
            return place.below(root)
    raise _not_there(places[:1], root)


def check(backbone: str, root: Path) -> None:
    """Raises MissingFileError, with all commands that it needs, where a published backbone lacks a file."""
    if lacking := missing(backbone, root):
        raise _not_there(lacking, root)


def missing(backbone: str, root: Path) -> list[HubFile]:
    """The files that a published backbone lacks: its generator's, then those that all share."""
    lacking = [places[0] for places in GENERATORS[backbone] if not is_there(places, root)]
    return lacking + missing_base(root)


def missing_base(root: Path) -> list[HubFile]:
    """The files of BASE that are not there; text encoders that are cut into other files are whole too."""
    lacking = [file for file in BASE if not file.below(root).is_file()]
    return [file for file in lacking if not _is_whole_without(file.below(root))]


def is_there(places: Places, root: Path) -> bool:
    """Whether any of the places has the file."""
    return any(place.below(root).is_file() for place in places)


def commands(files: Iterable[HubFile], root: Path) -> list[str]:
    """Commands that fetch the files, one for each repository."""
    by_repo: dict[str, list[str]] = {}
    for file in files:
        by_repo.setdefault(file.repo, []).append(file.path)
    return [
        shlex.join(["hf", "download", repo, *paths, "--local-dir", str(root / repo.partition("/")[2])])
        for repo, paths in by_repo.items()
    ]


def size(files: Sequence[HubFile]) -> str:
    """Their size together, to read."""
    known = sum(file.num_bytes or 0 for file in files)
    unknown = sum(file.num_bytes is None for file in files)
    if unknown == len(files) == 1:
        return "of unknown size"
    text = f"{known / 1e9:.1f} GB" if known else "0 GB"
    return text + (f" and {unknown} of unknown size" if unknown else "")


def _not_there(files: Sequence[HubFile], root: Path) -> MissingFileError:
    return MissingFileError(
        files[0].below(root),
        f"weights, {size(files)}, that this fetches: {' && '.join(commands(files, root))}",
    )


def _is_whole_without(path: Path) -> bool:
    """Whether the folder of a missing file has all without it, its weights being cut into other files."""
    folder = path.parent
    if path.name in SPARE:
        return (folder / TOKENIZER).is_file()
    indexes, is_index = list(folder.glob(f"*{INDEX}")), path.name.endswith(INDEX)
    if not is_index and path.suffix != WEIGHTS:
        return False
    if not indexes:
        return any("-of-" not in file.name for file in folder.glob(f"*{WEIGHTS}"))
    return not is_index and all((folder / name).is_file() for name in _indexed(indexes[0]))


def _indexed(index: Path) -> set[str]:
    """Names of the files that an index names; one that cannot be read names itself, as a missing file."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return {f"unreadable {index.name}"}
