"""`toy` with nothing but reconstruction."""

from dataclasses import replace

from encoder.configs.toy import config as toy

config = replace(toy, losses=replace(toy.losses, delta_weight=0.0, smooth_weight=0.0))
