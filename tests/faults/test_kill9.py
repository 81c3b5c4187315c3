"""kill -9 of the server at random moments: what was acknowledged is there, bit for bit and once."""

import contextlib
import random
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from samples import ALL, SPEC, block, embeddings, latents
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import Unavailable
from memory_service.memory import Memory
from memory_service.types import Block, Found, Frame, Handle, Query, Span, VideoKey

KILLS = 50
LONGEST_LIFE_S = 0.12

frame_latent = cache(lambda frame: latents(frame, 1)[0])
frame_embedding = cache(lambda frame: embeddings(frame, 1)[0])


@dataclass
class Model:
    """What the server has acknowledged of one video."""

    key: VideoKey
    epoch: int = 0
    length: int = 0
    unacknowledged: int = 0
    """Frames of the append that the kill interrupted."""

    previews: dict[int, bytes] = field(default_factory=dict)
    found: Found | None = None
    """A search of the whole history, and the length that it saw."""


def probe() -> Sequence[Query]:
    return [Query(7, ALL, embedding=frame_embedding(frame)) for frame in (1_000_000, 1_000_001)]


def one_block(rng: random.Random, model: Model) -> Block:
    n = rng.randint(1, 4)
    if rng.random() < 0.3:
        return block(model.length, n, preview=[f"preview {i}".encode() for i in range(n)])
    return block(model.length, n)


def write(memory: Memory, models: Sequence[Model], rng: random.Random) -> None:
    """Append until the server is gone."""
    for i in count():
        model = rng.choice(models)
        new = one_block(rng, model)
        n = len(new.embeddings)
        model.unacknowledged = n
        try:
            if rng.random() < 0.5:
                memory.append(model.key, new, sync=rng.random() < 0.1)
            else:
                memory.advance(model.key, new, Query(3, ALL))
        except Unavailable:
            return
        model.unacknowledged = 0
        for offset, preview in enumerate(new.parts.get("preview", ())):
            model.previews[model.length + offset] = bytes(preview)
        model.length += n
        if i % 5 == 0:
            try:
                model.found = memory.search(model.key, probe(), log=False)
            except Unavailable:
                return


def check(memory: Memory, model: Model) -> None:
    """Everything acknowledged is there, and of the interrupted append all or nothing."""
    info = memory.get_video(model.key)
    assert info.spec == SPEC
    assert info.state.epoch == model.epoch
    assert info.state.length in {model.length, model.length + model.unacknowledged}
    handles = [Handle(model.key, model.epoch, frame) for frame in range(info.state.length)]
    for at in range(0, len(handles), 1024):
        for frame in memory.fetch(handles[at : at + 1024]):
            check_frame(frame, model)
    if model.found is not None:
        seen = model.found.state.length
        before = [Query(q.k, Span(0, seen), q.embedding) for q in probe()]
        assert memory.search(model.key, before, log=False).hits == model.found.hits
    model.length, model.unacknowledged = info.state.length, 0


def check_frame(frame: Frame, model: Model) -> None:
    number = frame.handle.frame
    assert frame.parts["latent"] == frame_latent(number)
    np.testing.assert_array_equal(frame.embedding, frame_embedding(number))
    if number in model.previews:
        assert frame.parts["preview"] == model.previews[number]


def write_until_killed(server: ServerProcess, models: Sequence[Model], rng: random.Random) -> None:
    memory = MemoryClient(server.address)
    memory.info()
    killer = threading.Timer(rng.uniform(0, LONGEST_LIFE_S), server.kill)
    killer.start()
    write(memory, models, rng)
    killer.join()
    with contextlib.suppress(Unavailable):
        memory.close()


@pytest.mark.timeout(900)  # starting a server takes 0.3 s of processor time, on a busy machine a few seconds
@pytest.mark.usefixtures("impatient")
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    models = [Model(VideoKey("pool", name)) for name in ("a", "b")]
    for life in range(KILLS + 1):
        with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as server:
            with MemoryClient(server.address) as memory:
                for model in models:
                    if life == 0:
                        model.epoch = memory.create_video(model.key, SPEC).state.epoch
                    check(memory, model)
            if life < KILLS:
                write_until_killed(server, models, rng)
    assert min(model.length for model in models) > KILLS, "the kills came before the appends"


def test_a_client_rides_out_kills_and_never_sees_them(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    rng, model = random.Random(0), Model(VideoKey("pool", "ridden"))
    with ExitStack() as servers:
        servers.enter_context(ServerProcess(tmp_path / "data", address))

        def kill_and_restart() -> None:
            servers.close()
            servers.enter_context(ServerProcess(tmp_path / "data", address))

        with MemoryClient(address, timeout_s=60) as memory:
            model.epoch = memory.create_video(model.key, SPEC).state.epoch
            for _ in range(5):
                killer = threading.Timer(rng.uniform(0, LONGEST_LIFE_S), kill_and_restart)
                killer.start()
                while killer.is_alive():
                    model.length += len(append_one(memory, model, rng))
                killer.join()
                check(memory, model)


def append_one(memory: Memory, model: Model, rng: random.Random) -> Span:
    new = one_block(rng, model)
    answer = memory.append(model.key, new)
    assert answer.state.length == new.span.stop
    return new.span
