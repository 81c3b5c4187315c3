"""Seconds on one core: shows that a training runs and learns; its loss curve is held by a test."""

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig
from encoder.training.config import TrainingConfig

config = TrainingConfig(
    model=LatentAEConfig(height=8, width=8, embedding_dim=64, hidden_dims=(32,)),
    # So short a training learns to reconstruct and to move only where little holds it.
    losses=LossConfig(smooth_weight=0.02),
    epochs=6,
    batch_clips=8,
    clips_per_video=16,
    validation_share=0.2,
    learning_rate=3e-3,
    # So much decay and clipping that either shows in so short a curve if it is left out.
    weight_decay=0.1,
    max_grad_norm=0.5,
    precision="no",
)
