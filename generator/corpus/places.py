"""Where the camera stood in each latent frame, in worlds that know."""

from __future__ import annotations

import torch
from torch import Tensor

from generator.toy import prompts
from generator.toy.world import VIEW_CELLS


def known_places(backbone: str, prompt: str, num_frames: int) -> Tensor | None:
    """int64 [num_frames], in cells; None for a backbone whose world has no such truth, and for words that
    are not of its language.
    """
    if backbone != "toy":
        return None
    try:
        script = prompts.parse(prompt)
    except ValueError:
        return None
    cells = script.camera_cells(-(-num_frames // prompts.BLOCK_FRAMES))
    return torch.from_numpy(cells[:num_frames].copy()).long()


def about_places(places: Tensor | None) -> dict[str, str]:
    """What the metadata say of them: frames closer than this show the same place."""
    return {} if places is None else {"view_cells": str(VIEW_CELLS)}
