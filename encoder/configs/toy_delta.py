"""`toy` without smoothness: what the temporal delta does alone."""

from dataclasses import replace

from encoder.configs.toy import config as toy

config = replace(toy, losses=replace(toy.losses, smooth_weight=0.0))
