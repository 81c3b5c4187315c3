"""Reels from outside: whatever their records say, with right checksums, nothing but a video comes of them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import KEY, SPEC, block

from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, Exhausted, InvalidArgument, NotFound, ServiceError, TooLarge
from memory_service.limits import Limits
from memory_service.records import Lineage, pack_block, pack_fork, pack_retrieval, pack_truncation, pack_video
from memory_service.reel import Body, Kind, encode
from memory_service.types import Block, Parent, PoolSpec, Retrieval, Span, VideoInfo, VideoState

Records = list[tuple[Kind, dict[str, Any], Body]]
NAMED = replace(SPEC, named_dims={"text": 3})
EMPTY = VideoInfo(KEY, NAMED, VideoState(77, 0, 0), 5)
LOGGED = Retrieval(KEY, 77, 3, 2, Span(0, 9), 2, "top-k", (0, 1), (0.5, 0.25), 100, 6)


def named_block(start: int, n: int) -> Block:
    rows = np.arange(3 * n, dtype=np.float32).reshape(n, 3) + 1
    return replace(block(start, n), named={"text": rows}, metadata={"a": "b"}, unix_ms=9)


def records() -> Records:
    """Of a sound reel: a video of two blocks, and everything that may lie between and behind them."""
    return [
        (Kind.VIDEO, pack_video(EMPTY), Body()),
        (Kind.BLOCK, *pack_block(named_block(0, 3))),
        (Kind.COMMIT, {}, Body()),
        (Kind.TRUNCATE, pack_truncation(99, 2), Body()),
        (Kind.BLOCK, *pack_block(named_block(2, 2))),
        (Kind.RETRIEVAL, pack_retrieval(LOGGED), Body()),
        (Kind.SEAL, {}, Body()),
        (Kind.COMMIT, {}, Body()),
    ]


def reel(parts: Records) -> bytes:
    data = b""
    for number, (kind, header, body) in enumerate(parts):
        _, buffers = encode(kind, header, body, sequence=number, epoch=77, durable=len(data))
        data += b"".join(bytes(buffer) for buffer in buffers)
    return data


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MemoryEngine]:
    memory = MemoryEngine(tmp_path / "data")
    yield memory
    memory.close()


def assert_refused(memory: MemoryEngine, data: bytes, tmp_path: Path) -> ServiceError:
    """As an error of the request, and nothing is left of it."""
    with pytest.raises((InvalidArgument, DataLoss, TooLarge)) as error:
        memory.import_video(KEY, [data])
    with pytest.raises(NotFound):
        memory.get_video(KEY)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.suffix in (".reel", ".new")]
    assert memory.info().num_bytes == 0
    return error.value


def test_the_reel_of_a_closed_video_will_do(engine: MemoryEngine) -> None:
    info = engine.import_video(KEY, [reel(records())])
    assert (info.state.length, info.sealed, info.spec) == (4, True, NAMED)
    assert list(engine.retrievals(KEY)) == [LOGGED]
    assert info.created_unix_ms > 5


def without(number: int, name: str) -> Callable[[Records], Any]:
    return lambda parts: parts[number][1].pop(name)


def with_value(number: int, name: str, value: Any) -> Callable[[Records], None]:
    return lambda parts: parts[number][1].__setitem__(name, value)


def change(number: int, name: str, change: Callable[[Any], Any]) -> Callable[[Records], None]:
    return lambda parts: parts[number][1].__setitem__(name, change(parts[number][1][name]))


def put(number: int, *record: Any) -> Callable[[Records], None]:
    return lambda parts: parts.insert(number, record)


def spoilt_float(parts: Records) -> None:
    rows = block(0).embeddings.copy()
    rows[1, 2] = np.nan
    parts[1] = (Kind.BLOCK, *pack_block(replace(named_block(0, 3), embeddings=rows)))


def short_latent(parts: Records) -> None:
    parts[1] = (Kind.BLOCK, *pack_block(replace(named_block(0, 3), parts={"latent": [b"short"] * 3})))


def again_and_again(parts: Records) -> None:
    """All frames name the latent of the first one."""
    header = parts[1][1]
    header["parts"] = {"latent": header["parts"]["latent"][:1] * 3, "depth": header["parts"]["latent"]}


def of_another_record(parts: Records) -> None:
    """The second block names latents that lie in the first one, whose body and checksums are right."""
    second = encode(*parts[4], sequence=4, epoch=77, durable=0)[0]
    shift = len(reel(parts[:1])) - len(reel(parts[:4]))
    first = encode(*parts[1], sequence=1, epoch=77, durable=0)[0]
    shift += first.body_offset - second.body_offset
    parts[4][1]["parts"] = {
        "latent": [
            [offset + shift, length, crc] for offset, length, crc in parts[1][1]["parts"]["latent"][:2]
        ]
    }


def no_latent(parts: Records) -> None:
    parts[1] = (Kind.BLOCK, *pack_block(replace(named_block(0, 3), parts={"depth": [b"x"] * 3})))


HOSTILE: dict[str, Callable[[Records], Any]] = {
    "no spec": without(0, "embedding_dim"),
    "a dimension of 0": with_value(0, "embedding_dim", 0),
    "a dimension of text": with_value(0, "embedding_dim", "8"),
    "another dimension": with_value(0, "embedding_dim", 9),
    "a dtype of nobody": with_value(0, "latent_dtype", "int4"),
    "a dtype that is a list": with_value(0, "latent_dtype", []),
    "a huge shape": with_value(0, "latent_shape", [1 << 60, 1 << 60]),
    "a shape of text": with_value(0, "latent_shape", "abc"),
    "metadata that are numbers": with_value(0, "metadata", {"a": 1}),
    "metadata that are a list": with_value(0, "metadata", [1]),
    "named dimensions that are a list": with_value(0, "named_dims", ["text"]),
    "no named dimensions": without(0, "named_dims"),
    "a block without a start": without(1, "start"),
    "a block that starts elsewhere": with_value(1, "start", 1),
    "a block that starts before 0": with_value(1, "start", -3),
    "a start of falsehood": with_value(1, "start", False),
    "a start that is no whole number": with_value(1, "start", 0.0),
    "an empty block": with_value(1, "n", 0),
    "a negative block": with_value(1, "n", -1),
    "a huge block": with_value(1, "n", 1 << 62),
    "a longer block": with_value(1, "n", 4),
    "a shorter block": with_value(1, "n", 1),
    "rows of another dimension": with_value(1, "dim", 9),
    "rows of a huge dimension": with_value(1, "dim", 1 << 62),
    "rows of a negative dimension": with_value(1, "dim", -8),
    "checksums that are missing": change(1, "embedding_crcs", lambda crcs: crcs[:1]),
    "checksums of something else": change(1, "embedding_crcs", lambda crcs: crcs[::-1]),
    "checksums that are text": with_value(1, "embedding_crcs", ["a", "b", "c"]),
    "parts that are a list": with_value(1, "parts", []),
    "no parts": with_value(1, "parts", {}),
    "no latent": no_latent,
    "a part without places": with_value(1, "parts", {"latent": []}),
    "a place far outside": with_value(1, "parts", {"latent": [[1 << 62, 24, 0]] * 3}),
    "a place before the reel": with_value(1, "parts", {"latent": [[-(1 << 40), 24, 0]] * 3}),
    "places that are used again": again_and_again,
    "places in another record": of_another_record,
    "a place of text": with_value(1, "parts", {"latent": [["0", "24", "0"]] * 3}),
    "a part with a bad name": change(1, "parts", lambda parts: {**parts, "../x": parts["latent"]}),
    "a part named by a number": change(1, "parts", lambda parts: {**parts, 7: parts["latent"]}),
    "a latent of another size": short_latent,
    "a number that is none": spoilt_float,
    "named ones of another name": change(1, "named", lambda named: {"audio": named["text"]}),
    "named ones elsewhere": with_value(1, "named", {"text": [1 << 40, 3, [0, 0, 0]]}),
    "named ones of another shape": with_value(1, "named", {"text": [0, 2, [0, 0, 0]]}),
    "named ones that are a number": with_value(1, "named", 5),
    "a block's metadata of numbers": with_value(1, "metadata", {"a": 1}),
    "a block's metadata of pairs": with_value(1, "metadata", [["a", "b"]]),
    "a time of text": with_value(1, "unix_ms", "now"),
    "a time before all": with_value(1, "unix_ms", -1),
    "a truncation without a length": without(3, "length"),
    "a truncation behind the end": with_value(3, "length", 4),
    "a truncation before 0": with_value(3, "length", -1),
    "a truncation in between": with_value(3, "length", 1.5),
    "a truncation without an epoch": without(3, "epoch"),
    "a retrieval without frames": without(5, "frames"),
    "a retrieval of text": with_value(5, "frames", ["a", "b"]),
    "a retrieval of no span": with_value(5, "eligible", [1]),
    "a retrieval with words for scores": with_value(5, "scores", ["much", "little"]),
    "a retrieval by a number": with_value(5, "policy", 7),
    "two videos": put(2, Kind.VIDEO, pack_video(EMPTY), Body()),
    "a fork": put(1, Kind.FORK, pack_fork(Lineage(Parent(KEY, 1, 0), ())), Body()),
    "no end": lambda parts: parts.pop(),
    "no beginning": lambda parts: parts.pop(0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_memory_would_write_is_refused(engine: MemoryEngine, tmp_path: Path, what: str) -> None:
    parts = records()
    HOSTILE[what](parts)
    assert_refused(engine, reel(parts), tmp_path)


def test_a_newer_format_is_refused(engine: MemoryEngine, tmp_path: Path) -> None:
    with_unknown = records()
    with_unknown.insert(2, (99, {}, Body()))  # type: ignore[arg-type]
    error = assert_refused(engine, reel(with_unknown), tmp_path)
    assert isinstance(error, InvalidArgument)
    assert error.field == "data"


def test_limits_are_the_importers(tmp_path: Path) -> None:
    for limits in (Limits(max_block_frames=1), Limits(max_metadata_bytes=8), Limits(max_message_bytes=100)):
        memory = MemoryEngine(tmp_path / "data", limits=limits)
        assert isinstance(assert_refused(memory, reel(records()), tmp_path), TooLarge)
        memory.close()


def test_any_byte_may_be_wrong(engine: MemoryEngine, tmp_path: Path) -> None:
    """Most bytes are covered by checksums; whatever is not must not matter."""
    data = reel(records())
    rng = np.random.default_rng(1)
    for place in rng.choice(len(data), 60, replace=False).tolist():
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        with suppress(InvalidArgument, DataLoss, TooLarge):
            engine.import_video(KEY, [flipped])
            assert engine.get_video(KEY).state.length == 4
            engine.drop_video(KEY)
    assert not list((tmp_path / "data").rglob("*.new"))


def test_an_import_is_booked_until_it_is_done(engine: MemoryEngine) -> None:
    """What was sent and what is made of it are on the disk together, and stay within the quota together."""
    data = reel(records())
    engine.create_pool(KEY.pool, PoolSpec(max_bytes=len(data) + 1000))
    with pytest.raises(Exhausted):
        engine.import_video(KEY, [data])
    assert engine.get_pool(KEY.pool).usage.num_bytes == 0
    engine.update_pool(KEY.pool, PoolSpec(max_bytes=2 * len(data)))
    num_bytes = engine.import_video(KEY, [data]).num_bytes
    used = engine.get_pool(KEY.pool).usage
    assert (used.num_bytes, used.num_videos) == (num_bytes, 1)
    engine.drop_video(KEY)
    assert engine.get_pool(KEY.pool).usage.num_bytes == 0


def test_who_sends_may_fail(engine: MemoryEngine, tmp_path: Path) -> None:
    data = reel(records())

    def broken() -> Iterator[bytes]:
        yield data[:500]
        raise ConnectionResetError("the sender is gone")

    with pytest.raises(ConnectionResetError):
        engine.import_video(KEY, broken())
    assert not list((tmp_path / "data").rglob("*.new"))
    assert engine.import_video(KEY, [data]).state.length == 4
