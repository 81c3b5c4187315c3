"""Latents of the bundled toy, 16 channels of 8 x 8: half a minute on one core.

Chosen by how well places are found again on painted worlds, not by the loss, which goes on falling while
places become harder to tell apart.
"""

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig
from encoder.training.config import TrainingConfig

config = TrainingConfig(
    # One stage, and rows are kept: of a map of 4 x 4 an average tells too little.
    model=LatentAEConfig(height=8, width=8, embedding_dim=512, hidden_dims=(128,), keep_rows=True),
    losses=LossConfig(smooth_weight=30.0, smooth_form="squared"),
    epochs=8,
    batch_clips=24,
    clips_per_video=30,
    schedule="cosine",
    precision="bf16",
)
