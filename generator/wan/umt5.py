"""Wan's text encoder: UMT5-XXL through transformers, with the reference's rules for cleaning and padding."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import ftfy
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from generator.errors import MissingFileError

TEXT_LEN = 512
"""Rows of an embedding; the pipeline of diffusers would cut to 226 unless told otherwise."""

PARTS = ("tokenizer", "text_encoder")
SAMPLE_BYTES = 1 << 16
WEIGHT_SUFFIXES = (".safetensors", ".bin")


class UMT5:
    """Embeds prompts: all text_len rows are passed on.

    Rows past the end of the prompt are set to zero and stay: Wan attends to them without a mask.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: UMT5EncoderModel, text_len: int = TEXT_LEN
    ) -> None:
        self._tokenizer = tokenizer
        self._model = model.eval()
        self._text_len = text_len

    @staticmethod
    def load(folder: Path, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> UMT5:
        """From a diffusers folder with `tokenizer` and `text_encoder`. Raises MissingFileError."""
        check_parts(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        model = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype, local_files_only=True)
        return UMT5(tokenizer, model.to(device))

    @torch.inference_mode()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [P, text_len, text_dim] float32 of cleaned prompts; longer ones are cut.

        One by one: in a batch, the roundings of one prompt's sums could depend on its neighbours.
        """
        return torch.stack([self._embed_one(prompt) for prompt in prompts])

    def _embed_one(self, prompt: str) -> Tensor:
        tokens = self._tokenizer(
            prompt,
            padding="max_length",
            max_length=self._text_len,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._model.device)
        embeds = self._model(tokens.input_ids, tokens.attention_mask).last_hidden_state[0]
        return (embeds * tokens.attention_mask[0, :, None]).float().cpu()


def clean_prompt(prompt: str) -> str:
    """Repair mis-decoded characters and HTML entities, and make all white space single blanks."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()


def check_parts(folder: Path) -> None:
    """Raises MissingFileError unless a diffusers folder has a tokenizer and a text encoder."""
    for part in PARTS:
        if not (folder / part).is_dir():
            raise MissingFileError(folder / part, f"the {part} of Wan 2.1 (UMT5-XXL) in diffusers' layout")


def identity(folder: Path, dtype: torch.dtype) -> str:
    """A digest that differs between text encoders: of their settings, whole, and of samples of their weights.

    Weights have 11 GB or more, which nobody wants to read for a prompt: their sizes, first and last bytes
    tell encoders apart, damage in between they do not show. Raises MissingFileError.
    """
    check_parts(folder)
    digest = hashlib.sha256(str(dtype).encode())
    for part in PARTS:
        for file in sorted(path for path in (folder / part).iterdir() if path.is_file()):
            digest.update(f"{part}/{file.name} {file.stat().st_size}\n".encode())
            for piece in _samples(file):
                digest.update(piece)
    return digest.hexdigest()


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if file.suffix not in WEIGHT_SUFFIXES or size <= 3 * SAMPLE_BYTES:
            yield opened.read()
            return
        for start in (0, size // 2, size - SAMPLE_BYTES):
            opened.seek(start)
            yield opened.read(SAMPLE_BYTES)
