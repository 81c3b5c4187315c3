"""Latents of the bundled toy, 16 channels of 8 x 8: minutes on one core."""

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig
from encoder.training.config import TrainingConfig

config = TrainingConfig(
    # One stage: pooling then averages a 4 x 4 map, so embeddings change slowly while the camera moves.
    model=LatentAEConfig(height=8, width=8, embedding_dim=512, hidden_dims=(64,)),
    # At the published weight of 1 all cosines are still 1.00 after 500 steps: embeddings shrink to a point.
    losses=LossConfig(smooth_weight=0.1),
    epochs=40,
    batch_clips=32,
    clips_per_video=30,
    learning_rate=2e-3,
    schedule="cosine",
    precision="bf16",
)
