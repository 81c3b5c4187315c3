"""Latents of the bundled toy, 16 channels of 8 x 8: a minute and a half on one core."""

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig
from encoder.training.config import TrainingConfig

config = TrainingConfig(
    # One stage: pooling then averages a 4 x 4 map, so embeddings change slowly while the camera moves.
    model=LatentAEConfig(height=8, width=8, embedding_dim=512, hidden_dims=(128,)),
    # Of 0.05, 0.2, 0.5 and the published 1, this weight found places again best on painted worlds.
    losses=LossConfig(smooth_weight=0.2),
    epochs=40,
    batch_clips=24,
    clips_per_video=30,
    learning_rate=1e-3,
    schedule="cosine",
    precision="bf16",
)
