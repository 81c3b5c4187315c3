"""Wan's text encoder: UMT5-XXL through transformers, with the reference's rules for cleaning and padding."""

from __future__ import annotations

import html
import re
from pathlib import Path

import ftfy
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from generator.errors import MissingFileError
from generator.text import PromptTrack

TEXT_LEN = 512
"""Rows of an embedding; the pipeline of diffusers would cut to 226 unless told otherwise."""


class UMT5:
    """One caption for the whole video: all text_len rows passed on.

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
        for part in ("tokenizer", "text_encoder"):
            if not (folder / part).is_dir():
                raise MissingFileError(
                    folder / part, f"the {part} of Wan 2.1 (UMT5-XXL) in diffusers' layout"
                )
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        model = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype, local_files_only=True)
        return UMT5(tokenizer, model.to(device))

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        return PromptTrack(embeds=self.encode(prompt).unsqueeze(0), rows=(0,) * num_blocks)

    @torch.inference_mode()
    def encode(self, prompt: str) -> Tensor:
        """Embedding [text_len, text_dim] float32 of one prompt; longer prompts are cut."""
        tokens = self._tokenizer(
            clean_prompt(prompt),
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
