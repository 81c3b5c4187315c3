"""Which frames may be candidates: metadata and time of a block hold for all its frames."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memory_service.types import Filter, Span


class Described(Protocol):
    """What a filter can ask about."""

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def unix_ms(self) -> int: ...


def passes(wanted: Filter, block: Described) -> bool:
    """Whether the frames of a block pass: every key has its value, and unix_ms lies in [after, before)."""
    after, before = wanted.after_unix_ms, wanted.before_unix_ms
    return (
        (after is None or block.unix_ms >= after)
        and (before is None or block.unix_ms < before)
        and all(block.metadata.get(name) == value for name, value in wanted.metadata.items())
    )


def passing(wanted: Filter, span: Span, blocks: Iterable[tuple[Span, Described]]) -> NDArray[np.int64]:
    """The frames of `span` that pass, ascending, int64 [n]; `blocks` cover the span, in order."""
    mask = np.zeros(len(span), bool)
    for covered, block in blocks:
        if covered.stop > span.start and covered.start < span.stop and passes(wanted, block):
            mask[max(covered.start - span.start, 0) : covered.stop - span.start] = True
    return np.flatnonzero(mask) + span.start
