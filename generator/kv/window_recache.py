"""KV recache: the window's clean latents are passed through the model again, under another prompt.

LongLive, "KV recache" (arXiv 2509.22622, section 3.2). Let a window hold the sink and frames [a, t) when
another prompt p begins at frame t. For each block b that reaches into [a, t), oldest first,

    K_b, V_b <- the keys and values of all layers of model(x0_b, t = 0, p, context_b),

where x0_b are its clean latents and context_b is what it attended when it was made, less the frames that
have left the window since; of its own context it sees what was recached already. Keys and values of the sink
stay unless asked for, those on the host stay always; what has left the window cannot be recached, and of a
block that has left in part, only the frames that are there. Frames that leave the window with the next block
take their recached keys and values with them.

Difference from the released code (v1, `interactive_causal_inference`): that passes the last W frames in one
forward. It builds a block-causal mask, which its attention does not read where there is a cache, so that its
frames also attend those after them; and where the sink is not kept, the first S of these W frames take its
place. Here blocks are causal, as they are when they are made, and the sink is always the video's beginning.

With the prompt unchanged, a block gets the keys and values that it had, but for the order of sums: in layer
0, which knows its own latents alone, always; in layer 1 if its whole context is still there; in each further
layer if that holds for the blocks of its context as well. In a video that is no longer than the window all
come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from generator.kv.kv_cache import KVCache
from generator.methods.context import Context
from generator.story.switching import CLEAR, Switching


@dataclass(frozen=True)
class MadeBlock:
    """A finished block that can be passed again."""

    context: Context
    latents: Tensor
    """[n, C, H, W], clean."""


class WindowRecache:
    """The blocks of the window, ready to be passed again."""

    def __init__(self, cache: KVCache, sink_frames: int) -> None:
        self._cache = cache
        self._sink_frames = sink_frames
        self._made: list[MadeBlock] = []

    def note(self, context: Context, latents: Tensor) -> None:
        """Remember a finished block until all its frames have left the window."""
        self._made.append(MadeBlock(context, latents))
        self._made = [made for made in self._made if self._held(made)]

    def blocks(self, switching: Switching) -> Iterator[tuple[MadeBlock, list[int]]]:
        """Blocks to pass again, oldest first, and those frames of each whose keys and values change.

        Their contexts are those of now; where old history is cleared nothing in them is retrieved.
        """
        first = 0 if switching.recache_sink else self._sink_frames
        for made in self._made:
            frames = [frame for frame in self._held(made) if frame >= first]
            if frames:
                context = self._remaining(made.context, switching.old_history != CLEAR)
                yield replace(made, context=context), frames

    def _held(self, made: MadeBlock) -> list[int]:
        span = made.context.span
        return [frame for frame in self._cache.frames if span.start <= frame < span.stop]

    def _remaining(self, context: Context, with_retrieved: bool) -> Context:
        tokens = context.compression
        return replace(
            context.within(self._cache.frames),
            retrieved=context.retrieved if with_retrieved else (),
            compression=None if tokens is None else replace(tokens, candidates=None),
        )
