"""`toy` with nothing but reconstruction."""

from dataclasses import replace

from encoder.configs.toy import config as toy
from encoder.losses import LossConfig

config = replace(toy, losses=LossConfig(delta_weight=0.0, smooth_weight=0.0))
