"""Options of `run` that change nothing where another is missing, and are refused there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from generator.errors import ConfigError
from generator.kv.modes import DEFAULT_MODE
from generator.options import survival as survival_options
from generator.options.groups import METHODS, check_selection, is_given
from generator.story.switching import FADE, RECACHE


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError where an option that is given would do nothing, or contradicts another."""
    if continues(options):
        survival_options.check(options)
    for name, (holds, needed) in ONLY_WITH.items():
        if is_given(options, name) and not holds(options):
            raise ConfigError(f"--{name.replace('_', '-')} needs {needed}")
    check_selection(options, options.method or METHODS[:1])


def continues(options: argparse.Namespace) -> bool:
    return bool(options.resume or options.fork)


def begins(options: argparse.Namespace) -> bool:
    return not continues(options)


def fades(options: argparse.Namespace) -> bool:
    return bool(options.old_history == FADE)


def degrades(options: argparse.Namespace) -> bool:
    return bool(options.on_memory_loss == survival_options.DEGRADE)


def recreates(options: argparse.Namespace) -> bool:
    return options.kv not in (None, DEFAULT_MODE)


def recaches(options: argparse.Namespace) -> bool:
    """Whether a method does, now or in a branch with another prompt."""
    from generator.methods import policy_named

    chosen = (options.at_switch or policy_named(name).at_switch[0] for name in options.method or METHODS[:1])
    return RECACHE in chosen


ONLY_WITH: Mapping[str, tuple[Callable[[argparse.Namespace], bool], str]] = {
    "replay": (continues, "--resume or --fork"),
    "dry_run": (begins, "a video that is yet to begin, without --resume and --fork"),
    "fade": (fades, f"--old-history {FADE}"),
    "memory_patience": (degrades, f"--on-memory-loss {survival_options.DEGRADE}"),
    "kv_layout": (recreates, "--kv bounded or latent: otherwise nothing is re-created"),
    "recache_sink": (recaches, f"--at-switch {RECACHE}, or a method that does so by itself"),
}
"""Option -> where it does something, and that in words."""
