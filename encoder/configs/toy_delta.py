"""`toy` without smoothness: what the temporal delta does alone."""

from dataclasses import replace

from encoder.configs.toy import config as toy
from encoder.losses import LossConfig

config = replace(toy, losses=LossConfig(smooth_weight=0.0))
