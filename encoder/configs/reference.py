"""The published training: 400 epochs in mixed precision, for latents of Wan 2.1 at 480 x 832 pixels."""

from encoder.training.config import TrainingConfig

config = TrainingConfig()
