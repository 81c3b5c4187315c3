"""Errors of the generator that a caller can act on.

GeneratorError
|- ConfigError           a configuration that cannot be run
|- CheckpointError       weights that do not fit the model, by name
|- MissingFileError      a file that a backbone needs is not where it was looked for
|- MissingKVError        retrieved frames without keys and values, and without latents to re-create them
|- KVBudgetError         host memory does not hold the keys and values that a rollout must keep
|- HistoryNotEmptyError  a rollout would start at frame 0 of a video that already has frames
|- PlanError             a video that cannot be continued, or not with what was given
`- NotKeptError          blocks that the memory did not take while it was away
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from memory_service.types import Handle, Span, VideoKey


class GeneratorError(Exception):
    """Base of all errors of the generator."""


class ConfigError(GeneratorError):
    """The configuration cannot be run; the message names the field and the expectation."""


class CheckpointError(GeneratorError):
    """Weights do not fit the model. `missing` and `unexpected` are names, `misshapen` says shape by shape."""

    def __init__(
        self,
        what: str,
        *,
        missing: Iterable[str] = (),
        unexpected: Iterable[str] = (),
        misshapen: Iterable[str] = (),
    ) -> None:
        self.missing = tuple(sorted(missing))
        self.unexpected = tuple(sorted(unexpected))
        self.misshapen = tuple(misshapen)
        lists = {"missing": self.missing, "unexpected": self.unexpected, "misshapen": self.misshapen}
        details = [f"{len(names)} {kind}: {_some(names)}" for kind, names in lists.items() if names]
        super().__init__("; ".join([what, *details]))


class MissingFileError(GeneratorError):
    """`path` does not exist; `expected` says what should be there."""

    def __init__(self, path: Path, expected: str) -> None:
        self.path = path
        self.expected = expected
        super().__init__(f"{path} does not exist; expected {expected}")


class MissingKVError(GeneratorError):
    """Keys and values of retrieved frames are in no tier, and the memory has no latents of them."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self.handles = tuple(handles)
        names = [f"{h.key} epoch {h.epoch} frame {h.frame}" for h in handles]
        super().__init__(
            f"no keys and values for {len(names)} retrieved frame(s): {_some(names)}; no tier of "
            "this process holds them, and there are no latents to re-create them from"
        )


class KVBudgetError(GeneratorError):
    """The keys and values that must stay in host memory take `needed_bytes`; `allowed_bytes` may be used."""

    def __init__(self, needed_bytes: int, allowed_bytes: int) -> None:
        self.needed_bytes, self.allowed_bytes = needed_bytes, allowed_bytes
        super().__init__(
            f"exact K/V of all evicted frames need {needed_bytes / 1e9:.3g} GB of host memory, "
            f"{allowed_bytes / 1e9:.3g} GB are allowed: raise the budget (--kv-budget), or let frames be "
            "re-created from their latents (--kv bounded or latent)"
        )


class HistoryNotEmptyError(GeneratorError):
    """A rollout starts at frame 0, but the video already has frames."""

    def __init__(self, key: VideoKey, length: int) -> None:
        self.key = key
        self.length = length
        super().__init__(
            f"video {key} already has {length} frames; expected an empty video "
            "(--resume goes on with it, --replace drops it)"
        )


class PlanError(GeneratorError):
    """A video cannot be continued as it was begun; the message names the field and the expectation."""


class NotKeptError(GeneratorError):
    """The memory did not take the blocks `spans` of a video, and they would be lost to it."""

    def __init__(self, key: VideoKey, spans: Sequence[Span], reason: str) -> None:
        self.key = key
        self.spans = tuple(spans)
        names = [f"[{span.start}, {span.stop})" for span in spans]
        super().__init__(f"the memory did not take frames {_some(names)} of {key}: {reason}")


def _some(names: Sequence[str], limit: int = 8) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
