"""The commands of reverie-generate, one file each: `add` declares one and names the function that runs it.

A command's module imports nothing heavy: --help and a mistyped option should not wait for torch.
"""

from generator.commands import backbones, batch, demo, run

COMMANDS = (run, batch, demo, backbones)
