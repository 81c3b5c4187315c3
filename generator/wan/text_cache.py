"""Text embeddings kept on disk: the text encoder, 11 GB of it, is loaded only for prompts that are new.

One safetensors file per embedding, `<key>.safetensors`, where the key is a SHA-256 over cleaned prompt, text
encoder and text_len. It holds `embeds` [rows, text_dim] float32 without the zero rows at the end; its
metadata hold the key, text_len and a SHA-256 of the values. Several processes may share a folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from generator.story.text import PromptTrack
from generator.wan.umt5 import TEXT_LEN, clean_prompt

LOG = logging.getLogger(__name__)


class Embedder(Protocol):
    """A text encoder in memory, such as UMT5."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [P, text_len, text_dim] float32 of cleaned prompts."""


class CachedText:
    """The text encoder of a backbone: embeddings from disk, the model loaded when one is not there.

    The model is let go as soon as it has embedded what was missing.
    """

    def __init__(
        self, folder: Path, identity: str, load: Callable[[], Embedder], text_len: int = TEXT_LEN
    ) -> None:
        self._folder = folder.expanduser()
        self._identity = identity
        self._load = load
        self._text_len = text_len

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        """One caption for the whole video."""
        return PromptTrack(embeds=self.embed([prompt]), rows=(0,) * num_blocks)

    def prepare(self, prompts: Sequence[str]) -> None:
        """Have the embeddings of all of them on disk, loading the model once."""
        self.embed(prompts)

    def follow(self, prompt: str, before: str, num_blocks: int) -> str:
        del before, num_blocks  # a prompt stands for itself
        return prompt

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [P, text_len, text_dim] float32; the model is loaded at most once."""
        cleaned = [clean_prompt(prompt) for prompt in prompts]
        keys = {prompt: self.key(prompt) for prompt in cleaned}
        embeds = {prompt: self._read(key) for prompt, key in keys.items()}
        missing = [prompt for prompt, found in embeds.items() if found is None]
        if missing:
            for prompt, made in zip(missing, self._load().embed(missing), strict=True):
                self._write(keys[prompt], made)
                embeds[prompt] = made
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return torch.stack([made for prompt in cleaned if (made := embeds[prompt]) is not None])

    def key(self, cleaned: str) -> str:
        """Name of the file of a cleaned prompt."""
        parts = (self._identity, str(self._text_len), cleaned)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"

    def _read(self, key: str) -> Tensor | None:
        """The embedding; None where there is none or the file is damaged, which is logged."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata, rows = file.metadata() or {}, file.get_tensor("embeds")
        except (SafetensorError, OSError) as error:
            LOG.warning("text cache: %s cannot be read and is made anew: %s", path, error)
            return None
        expected = {"key": key, "text_len": str(self._text_len), "sha256": _digest(rows)}
        if metadata != expected or rows.ndim != 2 or len(rows) > self._text_len:
            LOG.warning("text cache: %s is damaged and is made anew", path)
            return None
        embeds = rows.new_zeros(self._text_len, rows.shape[1])
        embeds[: len(rows)] = rows
        return embeds

    def _write(self, key: str, embeds: Tensor) -> None:
        """Keep an embedding: whole or not at all, whoever else writes it and whatever ends this process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        used = int(embeds.any(dim=-1).nonzero().max()) + 1 if embeds.any() else 0
        rows = embeds[:used].contiguous()
        metadata = {"key": key, "text_len": str(self._text_len), "sha256": _digest(rows)}
        part = self._folder / f"{key}.{uuid.uuid4().hex}.part"
        try:
            with part.open("xb") as file:
                file.write(save({"embeds": rows}, metadata=metadata))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(key))
        finally:
            part.unlink(missing_ok=True)


def _digest(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()
