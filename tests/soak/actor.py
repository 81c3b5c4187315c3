"""One generator of videos in the soak: knows what it wrote, repeats what has no answer, checks the rest."""

import contextlib
from collections.abc import Callable

import pytest
from history import Content, block_of, check_frames, check_scope, check_search, check_state
from lives import Lives
from samples import ALL

from memory_service.errors import (
    AlreadyExists,
    Fenced,
    InvalidArgument,
    NotFound,
    OutOfOrder,
    Sealed,
    ServiceError,
)
from memory_service.types import Handle, Query

MOST_FRAMES = 600


class Actor(Lives):
    """Runs until `stop`; `histories` is then all that its videos must hold."""

    def run(self) -> None:
        """Thread body."""
        verbs: list[tuple[int, Callable[[], None]]] = [
            (40, self._append),
            (15, self._advance),
            (6, self._append_stream),
            (15, self._search),
            (4, self._search_several),
            (12, self._fetch),
            (4, self._state),
            (4, self._be_refused),
            (3, self._again),
            (2, self._truncate),
            (2, self._fork),
            (1, self._seal),
            (2, self._drop),
            (2, self._transfer),
            (1, self._reconnect),
            (1, self._create),
        ]
        weights, methods = zip(*verbs, strict=True)
        try:
            self._create()
            while not self._stop.is_set():
                (verb,) = self._rng.choices(methods, weights)
                verb()
                self.counts[verb.__name__.strip("_")] += 1
        except BaseException as exc:
            self.failure = exc
            self._stop.set()
        finally:
            with contextlib.suppress(ServiceError):
                self._memory.close()

    def _append(self) -> None:
        history = self._pick(open_only=True)
        number, n = next(self._numbers), self._rng.randint(1, 5)
        block, sync = history.block(number, n), self._rng.random() < 0.1
        epoch = self._rng.choice([None, history.epoch])
        answer = self._surely(lambda: self._memory.append(history.key, block, epoch=epoch, sync=sync))
        assert answer is not None
        history.took(number, n)
        assert (answer.state.length, answer.state.epoch) == (len(history.frames), history.epoch)
        assert not sync or answer.state.durable == answer.state.length
        if len(history.frames) > MOST_FRAMES:
            self._truncate_to(history, self._rng.choice([0, history.stops[2]]))

    def _advance(self) -> None:
        history = self._pick(open_only=True)
        number, n = next(self._numbers), self._rng.randint(1, 5)
        block = history.block(number, n)
        answer = self._surely(lambda: self._memory.advance(history.key, block, Query(4, ALL)))
        assert answer is not None
        history.took(number, n)
        assert answer.appended.state.length == len(history.frames)
        assert answer.hits[0].handle == history.handle(len(history.frames) - 1), (
            "the query is nearest to itself"
        )
        for frame in answer.frames:
            assert bytes(frame.parts["latent"]) == history.frames[frame.handle.frame].content.latent()

    def _search(self) -> None:
        history = self._pick()
        self._surely(lambda: check_search(self._memory, history, self._rng))

    def _search_several(self) -> None:
        """In some of the videos; a pool is shared with the others, so its videos are named."""
        histories = self._rng.sample(list(self.histories.values()), min(3, len(self.histories)))
        if histories:
            self._surely(lambda: check_scope(self._memory, histories, self._rng))

    def _append_stream(self) -> None:
        """Several blocks at once; from the beginning again where the stream broke off."""
        history = self._pick(open_only=True)
        start, blocks = len(history.frames), []
        for _ in range(self._rng.randint(1, 6)):
            number, n = next(self._numbers), self._rng.randint(1, 4)
            blocks.append(history.block(number, n))
            history.took(number, n)
        answers = self._surely(lambda: list(self._memory.append_stream(history.key, blocks)))
        assert answers is not None
        assert len(answers) == len(blocks)
        lengths = [answer.state.length for answer in answers if not answer.duplicate]
        assert lengths == sorted(lengths)
        assert answers[-1].state.length == len(history.frames) > start

    def _fetch(self) -> None:
        history = self._pick()
        if history.frames:
            frames = self._rng.choices(range(len(history.frames)), k=8)
            self._surely(lambda: check_frames(self._memory, history, frames))

    def _state(self) -> None:
        history = self._pick()
        info = self._surely(lambda: self._memory.get_video(history.key))
        assert info is not None
        check_state(info, history)
        listed = self._surely(lambda: self._memory.list_videos(history.key.pool))
        assert listed is not None
        mine = {found.key for found in listed if found.key.video.startswith(f"{self.name}-")}
        assert mine == {key for key in self.histories if key.pool == history.key.pool}

    def _again(self) -> None:
        history = self._pick()
        block = history.last_block()
        if block is not None:
            answer = self._surely(lambda: self._memory.append(history.key, block))
            assert answer is not None
            assert answer.duplicate
            assert answer.state.length == len(history.frames)

    def _be_refused(self) -> None:
        """What must fail does, and changes nothing: the next check would see it."""
        history = self._pick()
        key, length = history.key, len(history.frames)
        fits = block_of(length, [Content(next(self._numbers), length)])
        gap = block_of(length + 1, [Content(next(self._numbers), length + 1)])
        refused: list[tuple[type[ServiceError], Callable[[], object]]] = [
            (NotFound, lambda: self._memory.fetch([Handle(key, history.epoch ^ 1, 0)])),
            (NotFound, lambda: self._memory.fetch([Handle(key, history.epoch, length)])),
        ]
        if history.sealed:
            refused.append((Sealed, lambda: self._memory.append(key, fits)))
            refused.append((Sealed, lambda: self._memory.truncate_video(key, 0, epoch=history.epoch)))
        else:
            refused.append((OutOfOrder, lambda: self._memory.append(key, gap)))
            refused.append((Fenced, lambda: self._memory.append(key, fits, epoch=history.epoch ^ 1)))
        if length:
            other = block_of(length - 1, [Content(next(self._numbers), length - 1)])
            refused.append((AlreadyExists, lambda: self._memory.append(key, other)))
        middles = set(range(1, length)) - set(history.stops)
        if middles:
            middle = self._rng.choice(sorted(middles))
            new = self._new_key()
            refused.append((InvalidArgument, lambda: self._memory.fork_video(key, new, length=middle)))
        error, call = self._rng.choice(refused)
        with pytest.raises(error):
            self._surely(call)
